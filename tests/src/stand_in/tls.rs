//! The stand-ins' side of TLS.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::files;

/// Accepts connections with the certificate of `folder`, from clients with one of the same authority if so wanted.
pub(crate) fn acceptor(folder: &Path, client_certificate: bool) -> Result<TlsAcceptor> {
    let chain = certificates(folder, &format!("{}.crt", files::SERVER))?;
    let key = PrivateKeyDer::from_pem_reader(open(folder, &format!("{}.key", files::SERVER))?)
        .context("cannot parse a key")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("cannot choose TLS versions")?;
    let builder = if client_certificate {
        let mut roots = RootCertStore::empty();
        for authority in certificates(folder, files::AUTHORITY)? {
            roots.add(authority).context("cannot use the authority")?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().context("cannot check client certificates")?)
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(chain, key).context("cannot use the certificate")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(folder: &Path, name: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Result<_, _> = CertificateDer::pem_reader_iter(open(folder, name)?).collect();
    found.with_context(|| format!("cannot parse {name}"))
}

fn open(folder: &Path, name: &str) -> Result<BufReader<File>> {
    let file = folder.join(name);
    Ok(BufReader::new(File::open(&file).with_context(|| format!("cannot read {}", file.display()))?))
}
