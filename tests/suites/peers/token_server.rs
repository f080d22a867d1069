//! A token server by TLS that signs what distribution believes (its `auth: token`), and the authority of both.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

/// What both call themselves.
const SERVICE: &str = "registry.test";
/// Who alone may read `library/private`.
pub(crate) const USER: &str = "me";
pub(crate) const PASSWORD: &str = "only for tests";

/// An authority and a certificate of it for loopback.
pub(crate) struct Trust {
    authority: Certificate,
    server: Certificate,
    key: KeyPair,
}

impl Trust {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let authority_key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(params, authority_key);
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, SERVICE);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let server = params.signed_by(&key, &issuer).unwrap();
        Self { authority, server, key }
    }

    /// Writes the authority's certificate, and says where.
    pub(crate) fn authority_file(&self, folder: &Path) -> PathBuf {
        write(folder.join("authority.crt"), &self.authority.pem())
    }

    /// Sections of distribution's configuration: TLS, and tokens of `server`.
    pub(crate) fn of_distribution(
        &self,
        server: &TokenServer,
        folder: &Path,
    ) -> (serde_json::Value, serde_json::Value) {
        let certificate = write(folder.join("server.crt"), &self.server.pem());
        let key = write(folder.join("server.key"), &self.key.serialize_pem());
        let token = json!({
            "realm": format!("https://127.0.0.1:{}/token", server.port), "service": SERVICE, "issuer": SERVICE,
            "rootcertbundle": self.authority_file(folder),
        });
        (json!({"certificate": certificate, "key": key}), json!({"token": token}))
    }

    fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// A token that reads these repositories for five minutes.
    fn sign(&self, repositories: &[String]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(self.server.der())]});
        let access: Vec<_> =
            repositories.iter().map(|name| json!({"type": "repository", "name": name, "actions": ["pull"]})).collect();
        let claims = json!({
            "iss": SERVICE, "aud": SERVICE, "sub": "", "iat": now, "nbf": now - 5, "exp": now + 300, "jti": now.to_string(),
            "access": access,
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.key.serialize_der()).unwrap();
        let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// One request for a token.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) query: String,
    /// Whether the right name and password came along.
    pub(crate) login: bool,
}

/// A running token server. Its thread ends with the tests.
pub(crate) struct TokenServer {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl TokenServer {
    pub(crate) fn start(trust: &Arc<Trust>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![trust.server.der().clone()];
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, trust.key_der()).unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (trust, log) = (Arc::clone(trust), Arc::clone(&asked));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // Fails where the client distrusts us, which it may.
                let _: io::Result<()> = answer(stream, Arc::clone(&config), &trust, &log);
            }
        });
        Self { port, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// Answers one request, and closes.
fn answer(stream: TcpStream, config: Arc<ServerConfig>, trust: &Trust, log: &Mutex<Vec<Asked>>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut tls = BufReader::new(StreamOwned::new(connection, stream));
    let lines = head(&mut tls)?;
    let query = lines[0].split([' ', '?']).nth(2).unwrap_or_default().to_owned();
    let login = lines.iter().find(|line| line.to_lowercase().starts_with("authorization:"));
    let right = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let asked = Asked { query, login: login.is_some_and(|line| line.ends_with(&right)) };
    let readable = |name: &String| asked.login || name != "library/private";
    let scopes = url::form_urlencoded::parse(asked.query.as_bytes()).filter(|(key, _)| key == "scope");
    let names = scopes.filter_map(|(_, scope)| Some(scope.strip_prefix("repository:")?.rsplit_once(':')?.0.to_owned()));
    let body = json!({"token": trust.sign(&names.filter(readable).collect::<Vec<_>>()), "expires_in": 300}).to_string();
    log.lock().unwrap().push(asked);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let stream = tls.get_mut();
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn head(from: &mut BufReader<impl Read>) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        if line.trim_end().is_empty() {
            return if lines.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(lines) };
        }
        lines.push(line.trim_end().to_owned());
    }
}

fn write(path: PathBuf, text: &str) -> PathBuf {
    std::fs::write(&path, text).unwrap();
    path
}
