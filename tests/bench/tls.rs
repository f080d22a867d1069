//! The agents' way in: certificates as the operator issues them, and a client that shows one.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use serde_json::{Value, json};
use tidepool_config::trust;
use tidepool_tests::{Authority, Certificate};

use crate::pull::{Got, Reading, receive, request};

/// Name and uid of the mirror.
pub(crate) const MIRROR: &str = "bench";

/// An authority with a member and an agent that it vouches for.
pub(crate) struct Identities {
    authority: String,
    member: Certificate,
    agent: Certificate,
    client: Arc<ClientConfig>,
    pub(crate) address: SocketAddr,
}

impl Identities {
    /// For a member at an address; on loopback without one.
    pub(crate) fn new(at: Option<IpAddr>) -> Result<Self> {
        let authority = Authority::new("bench")?;
        let issue = |name: String| authority.issue(&name, std::slice::from_ref(&name));
        let (member, agent) = (issue(trust::member_name(MIRROR))?, issue(trust::agent_name(MIRROR))?);
        let mut roots = RootCertStore::empty();
        let trusted = CertificateDer::from_pem_slice(authority.pem().as_bytes()).context("no certificate")?;
        roots.add(trusted).context("the authority is not accepted")?;
        let certificate = CertificateDer::from_pem_slice(agent.certificate.as_bytes()).context("no certificate")?;
        let key = PrivateKeyDer::from_pem_slice(agent.key.as_bytes()).context("no key")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("no TLS")?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .context("cannot show a certificate")?;
        let mut address =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).context("no free port")?;
        address.set_ip(at.unwrap_or(address.ip()));
        Ok(Self { authority: authority.pem().to_owned(), member, agent, client: Arc::new(client), address })
    }

    /// Writes the member's files, and says what goes into its configuration.
    pub(crate) fn listener(&self, folder: &Path) -> Result<Value> {
        let Certificate { certificate, key } = &self.member;
        for (name, text) in [("tls.crt", certificate), ("tls.key", key), ("agents-ca.crt", &self.authority)] {
            fs::write(folder.join(name), text).context("cannot write a certificate")?;
        }
        Ok(json!({
            "listen": self.address,
            "mirror": MIRROR,
            "certFile": folder.join("tls.crt"),
            "keyFile": folder.join("tls.key"),
            "caFile": folder.join("agents-ca.crt"),
        }))
    }

    /// What an agent keeps of its identity.
    pub(crate) fn of_agent(&self) -> Value {
        json!({
            trust::AUTHORITIES_KEY: self.authority,
            trust::PRIVATE_KEY_KEY: self.agent.key,
            trust::certificate_key(MIRROR): self.agent.certificate,
        })
    }

    /// A pull as an agent.
    pub(crate) fn pull(&self, path: &str, reading: Reading) -> Result<Got> {
        let name = ServerName::try_from(trust::member_name(MIRROR)).context("no name of a member")?;
        let session = ClientConnection::new(Arc::clone(&self.client), name).context("no TLS")?;
        let stream = TcpStream::connect(self.address).context("cannot connect")?;
        stream.set_nodelay(true).context("cannot set up a socket")?;
        let mut stream = StreamOwned::new(session, stream);
        let started = Instant::now();
        stream.write_all(request("GET", path, "").as_bytes()).context("cannot ask")?;
        let mut got = Got::default();
        let stream = std::cell::RefCell::new(stream);
        let head = Shared(&stream);
        let body = |buffer: &mut [u8]| stream.borrow_mut().read(buffer);
        let deadline = started + Duration::from_secs(60);
        got.error = receive(&mut got, head, body, reading, started, deadline).err().map(|error| error.to_string());
        got.took = started.elapsed();
        Ok(got)
    }
}

/// Head and body come from one stream, one after the other.
struct Shared<'a>(&'a std::cell::RefCell<StreamOwned<ClientConnection, TcpStream>>);

impl io::Read for Shared<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}
