//! The TLS provider of the process.

/// Makes aws-lc-rs the TLS provider of this process; call it first in `main` and in tests that open TLS connections.
///
/// Calling it again does nothing.
pub fn install_crypto() {
    // An error means that a provider is installed already, which is what we want.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
