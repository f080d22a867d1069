//! The Tidepool operator: makes of a RegistryMirror the objects that run it
