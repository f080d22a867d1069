//! Certificates as the operator issues them, and a peer that speaks TLS with them.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, server::WebPkiClientVerifier, version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tidepool_config::trust;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

/// Uid of the mirror under test.
pub(crate) const MIRROR: &str = "0b54ab3c-86d5-4d30-9d38-6c2a5d0a8a52";

/// An authority, as the operator keeps one.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
pub(crate) struct Leaf {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tidepool");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Leaf { certificate, key: key.serialize_pem() }
    }

    /// TLS of a server called `localhost` and `127.0.0.1`, which may want a certificate that `clients` signed.
    pub(crate) fn acceptor(&self, clients: Option<&Self>) -> TlsAcceptor {
        let address = SanType::IpAddress([127, 0, 0, 1].into());
        self.acceptor_of(&self.sign("localhost", |params| params.subject_alt_names.push(address)), clients)
    }

    /// TLS of a server with that certificate.
    pub(crate) fn acceptor_of(&self, leaf: &Leaf, clients: Option<&Self>) -> TlsAcceptor {
        tidepool_runtime::install_crypto();
        let chain = vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
        let builder = match clients {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
                ServerConfig::builder().with_client_cert_verifier(verifier)
            }
        };
        TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
    }

    pub(crate) fn agent(&self, mirror: &str) -> Leaf {
        self.sign(&trust::agent_name(mirror), |_| {})
    }

    pub(crate) fn member(&self, mirror: &str) -> Leaf {
        self.sign(&trust::member_name(mirror), |_| {})
    }
}

/// Writes a member's files as the operator's Secret has them.
pub(crate) fn write_member(folder: &Path, leaf: &Leaf, authorities: &[&Authority]) {
    let bundle: String = authorities.iter().map(|authority| authority.pem.as_str()).collect();
    for (name, text) in [("tls.crt", &leaf.certificate), ("tls.key", &leaf.key), ("agents-ca.crt", &bundle)] {
        let aside = folder.join(format!("{name}.new"));
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, folder.join(name)).unwrap();
    }
}

/// Where to find a member and how to speak to it.
#[derive(Clone)]
pub(crate) struct Peer<'a> {
    pub(crate) at: SocketAddr,
    /// The authorities by which the member is believed.
    pub(crate) trusts: Vec<&'a Authority>,
    /// What it shows of itself.
    pub(crate) shows: Option<&'a Leaf>,
    pub(crate) version: &'static SupportedProtocolVersion,
}

impl<'a> Peer<'a> {
    pub(crate) fn new(at: SocketAddr, trusts: &'a Authority, shows: Option<&'a Leaf>) -> Self {
        Self { at, trusts: vec![trusts], shows, version: &TLS13 }
    }

    /// Opens a connection. With TLS 1.3 the member's verdict on our certificate comes after that.
    pub(crate) async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for authority in &self.trusts {
            roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        }
        let config = ClientConfig::builder_with_protocol_versions(&[self.version]).with_root_certificates(roots);
        let config = match self.shows {
            None => config.with_no_client_auth(),
            Some(leaf) => {
                let certificate = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        let name = ServerName::try_from(trust::member_name(MIRROR)).unwrap();
        let stream = TcpStream::connect(self.at).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// One request on a connection of its own: all that came back, or why nothing did.
    pub(crate) async fn get(&self, path: &str) -> Result<String, String> {
        let asked = async {
            let mut stream = self.connect().await?;
            ask(&mut stream, path, "").await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(String::from_utf8(answer).unwrap())
        };
        let asked = tokio::time::timeout(Duration::from_secs(30), asked).await.expect("it hangs");
        asked.map_err(|error| error.to_string())
    }
}

/// Sends a request that is the connection's last.
pub(crate) async fn ask(stream: &mut TlsStream<TcpStream>, path: &str, headers: &str) -> std::io::Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: m\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await
}
