//! The Tidepool node agent: writes mirror configuration and forwards pulls on loopback
