//! Cluster harness, stand-in registries and suites of Tidepool
