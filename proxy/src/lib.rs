//! The Tidepool proxy: a pull-through registry cache
