//! The TLS provider of the process.

mod in_place;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use in_place::{aes_128, aes_256};

/// Makes aws-lc-rs the TLS provider of this process; call it first in `main` and in tests that open TLS connections.
///
/// Calling it again does nothing.
pub fn install_crypto() {
    // An error means that a provider is installed already, which is what we want.
    let _ = provider().install_default();
}

/// aws-lc-rs with its own suites in their order, but for two that are cheaper here.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    for suite in &mut provider.cipher_suites {
        for cheaper in [aes_128(), aes_256()] {
            if suite.suite() == cheaper.suite() {
                *suite = cheaper;
            }
        }
    }
    provider
}
