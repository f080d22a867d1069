//! The egress proxy: upstreams are reached through it, with its login, and those it is not for without.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tidepool_config::{EgressProxy, Tls};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::{
    certificates::Authority,
    credentials::{ONES, write_password},
    fake::{Fake, ONE},
    guard::basic,
    proxy::Proxy,
};

/// First line and `Proxy-Authorization` of a request.
type Asked = (String, Option<String>);

/// A forward proxy that lets in who has the password, and leads everywhere to one registry.
struct Forward {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Forward {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::default());
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, target, Arc::clone(&log)));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn forward(client: TcpStream, target: SocketAddr, log: Arc<Mutex<Vec<Asked>>>) {
    let (mut client, mut head) = (BufReader::new(client), String::new());
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head).await.unwrap() == 0 {
            return;
        }
    }
    let first = head.lines().next().unwrap().to_owned();
    let header = |line: &str| line.to_ascii_lowercase().strip_prefix("proxy-authorization: ").map(str::len);
    let login = head.lines().find_map(|line| header(line).map(|len| line[line.len() - len..].to_owned()));
    log.lock().unwrap().push((first.clone(), login.clone()));
    if login != Some(basic("out", "let me")) {
        client.write_all(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        return;
    }
    let mut server = TcpStream::connect(target).await.unwrap();
    if first.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    } else {
        // Absolute form: the registry wants the path.
        let (method, rest) = first.split_once(" http://").unwrap();
        let path = &rest[rest.find('/').unwrap()..];
        server.write_all(head.replacen(&first, &format!("{method} {path}"), 1).as_bytes()).await.unwrap();
    }
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

async fn through(fake: &Fake, url: &str, tls: Option<Tls>, no_proxy: &[&str], password: &str) -> (u16, Vec<Asked>) {
    let (forward, dir) = (Forward::to(fake.address).await, tempfile::tempdir().unwrap());
    write_password(dir.path(), password);
    let egress = EgressProxy {
        url: format!("http://{}", forward.address).parse().unwrap(),
        no_proxy: no_proxy.iter().map(|&host| host.to_owned()).collect(),
        username: Some("out".into()),
        password_file: Some(dir.path().join("password")),
    };
    let proxy = Proxy::with(fake, |file| {
        (file.upstreams[0].url, file.upstreams[0].tls) = (Some(url.parse().unwrap()), tls);
        file.egress_proxy = Some(egress);
    });
    let status = proxy.await.get(ONES).await.status.as_u16();
    (status, forward.asked())
}

#[tokio::test]
async fn an_upstream_is_reached_through_it_with_its_login() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    // A name that nothing here resolves: the egress proxy does.
    let (status, asked) = through(&fake, "http://registry.invalid", None, &[], "let me").await;
    assert_eq!(status, 200);
    assert!(asked[0].0.contains(" http://registry.invalid/v2/a/b/manifests/1 "), "{asked:?}");
    assert!(fake.asked("").len() >= 2 && asked.iter().all(|(_, login)| login.is_some()));
    let (status, _) = through(&fake, "http://registry.invalid", None, &[], "wrong").await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn https_goes_through_a_tunnel() {
    let (authority, dir) = (Authority::new(), tempfile::tempdir().unwrap());
    let fake = Fake::start_tls(&authority, None).await;
    fake.tag("a/b", "1", ONE);
    std::fs::write(dir.path().join("ca.crt"), &authority.pem).unwrap();
    let tls = Tls { ca_file: Some(dir.path().join("ca.crt")), ..Tls::default() };
    let (status, asked) = through(&fake, &fake.url(), Some(tls), &[], "let me").await;
    assert_eq!(status, 200);
    assert!(asked[0].0.starts_with("CONNECT localhost:"), "{asked:?}");
}

#[tokio::test]
async fn what_it_is_not_for_is_reached_without_it() {
    let fake = Fake::start().await;
    fake.tag("a/b", "1", ONE);
    for no_proxy in ["127.0.0.1", "127.0.0.0/8"] {
        let (status, asked) = through(&fake, &fake.url(), None, &[no_proxy], "let me").await;
        assert_eq!((status, asked.len()), (200, 0), "{no_proxy}");
    }
    let (status, asked) = through(&fake, &fake.url(), None, &["10.0.0.0/8", ".corp"], "let me").await;
    assert!(status == 200 && !asked.is_empty());
}
