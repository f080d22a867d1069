//! Upstreams that went bad, in every way there is.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidepool_config::Tls;
use tidepool_proxy::Lookup;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

use crate::{
    certificates::Authority,
    fake::{Fake, Fault},
    proxy::Proxy,
};

/// A way to go bad.
#[derive(Clone, Debug)]
pub(crate) enum Bad {
    /// Nobody listens.
    Refused,
    /// No answer to a first packet.
    BlackHole,
    /// The connection is taken, these bytes are the answer to whatever is asked, and that is all.
    Says(&'static str),
    /// The same, and then the connection ends.
    SaysAndLeaves(&'static str),
    /// HTTP, but not what was asked for.
    Fault(Fault),
    /// The same, of what goes to the token server; all tokens are refused.
    TokenServer(Fault),
    /// A certificate of nobody.
    Distrusted,
    /// A certificate for another name.
    Misnamed,
    /// A certificate that is over.
    Expired,
    /// From HTTPS to plain HTTP, and so to where it must not lead.
    Downgrade,
    /// Nobody knows the name.
    NoName,
    /// The name server does not answer.
    SilentNames,
}

/// A registry with a proxy of it, to be made bad.
pub(crate) struct Sick {
    pub(crate) fake: Fake,
    pub(crate) proxy: Proxy,
    bad: Bad,
    authority: Authority,
    names: Arc<Names>,
    raw: Option<Raw>,
    _dir: tempfile::TempDir,
}

/// The next address of a registry's own, from 127.77.0.1.
static OWN: AtomicU16 = AtomicU16::new(1);

#[derive(Debug)]
struct Names {
    address: [u8; 4],
    unknown: AtomicBool,
    silent: AtomicBool,
}

/// A listener that is no registry.
struct Raw {
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
    _filling: Vec<TcpStream>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sick {
    /// A registry that is well, still, and a proxy.
    pub(crate) async fn well(bad: Bad) -> Self {
        let (authority, dir) = (Authority::new(), tempfile::tempdir().unwrap());
        let secure = matches!(bad, Bad::Distrusted | Bad::Misnamed | Bad::Expired | Bad::Downgrade);
        let own = OWN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let address = [127, 77, own[0], own[1]];
        let mut fake = Fake::start_at(address).await;
        if secure {
            fake.up_with(authority.acceptor(None)).await;
        }
        let names = Arc::new(Names { address, unknown: AtomicBool::default(), silent: AtomicBool::default() });
        let ca_file = dir.path().join("ca.crt");
        std::fs::write(&ca_file, &authority.pem).unwrap();
        let named = matches!(bad, Bad::NoName | Bad::SilentNames);
        let url = format!("http://registry.test:{}", fake.address.port());
        let proxy = Proxy::with_names(&fake, lookup(&names), |file| {
            let upstream = &mut file.upstreams[0];
            if named {
                upstream.url = Some(url.parse().unwrap());
            }
            if secure {
                upstream.tls = Some(Tls { ca_file: Some(ca_file), ..Tls::default() });
            }
        });
        let proxy = proxy.await;
        if matches!(bad, Bad::TokenServer(_)) {
            fake.want_tokens();
        }
        Self { fake, proxy, bad, authority, names, raw: None, _dir: dir }
    }

    /// From now on it is bad.
    pub(crate) async fn fall_ill(&mut self) {
        match self.bad.clone() {
            Bad::Refused => self.fake.down().await,
            Bad::BlackHole => {
                self.fake.down().await;
                self.raw = Some(black_hole(self.fake.address).await);
            }
            Bad::Says(text) => {
                self.fake.down().await;
                self.raw = Some(speaker(self.fake.address, text, false).await);
            }
            Bad::SaysAndLeaves(text) => {
                self.fake.down().await;
                self.raw = Some(speaker(self.fake.address, text, true).await);
            }
            Bad::Fault(fault) => self.fake.fault("/v2/", fault, 100_000),
            Bad::TokenServer(fault) => {
                self.fake.revoke_tokens();
                self.fake.fault("/token", fault, 100_000);
            }
            Bad::Distrusted => self.fake.up_with(Authority::new().acceptor(None)).await,
            Bad::Misnamed => {
                let leaf = self.authority.sign("elsewhere.test", |_| {});
                self.fake.up_with(self.authority.acceptor_of(&leaf, None)).await;
            }
            Bad::Expired => {
                let leaf = self.authority.sign("localhost", |params| {
                    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
                    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
                });
                self.fake.up_with(self.authority.acceptor_of(&leaf, None)).await;
            }
            Bad::Downgrade => self.fake.fault("/v2/", Fault::Redirect("http://127.0.0.1:1/".into()), 100_000),
            Bad::NoName | Bad::SilentNames => {
                // A connection that is open needs no name.
                self.fake.down().await;
                self.fake.up().await;
                self.names.unknown.store(matches!(self.bad, Bad::NoName), Ordering::Relaxed);
                self.names.silent.store(matches!(self.bad, Bad::SilentNames), Ordering::Relaxed);
            }
        }
        self.fake.forget();
    }

    /// How often it was asked anything since it fell ill.
    pub(crate) fn asked(&self) -> usize {
        let raw = self.raw.as_ref().map_or(0, |raw| raw.asked.load(Ordering::Relaxed));
        raw + self.fake.asked("").len()
    }
}

fn lookup(names: &Arc<Names>) -> Lookup {
    let names = Arc::clone(names);
    Lookup::new(move |name| {
        let names = Arc::clone(&names);
        async move {
            if names.silent.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let known =
                ["localhost", "registry.test"].contains(&name.as_str()) && !names.unknown.load(Ordering::Relaxed);
            if known { Ok(vec![(names.address, 0).into()]) } else { Err(io::Error::other("no such name")) }
        }
    })
}

/// Takes every connection and says the same to whatever is asked.
async fn speaker(address: SocketAddr, text: &'static str, leaves: bool) -> Raw {
    let (listener, asked) = (TcpListener::bind(address).await.unwrap(), Arc::<AtomicUsize>::default());
    let count = Arc::clone(&asked);
    let task = tokio::spawn(async move {
        let mut held = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let count = Arc::clone(&count);
            held.spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    count.fetch_add(1, Ordering::Relaxed);
                    let _ = stream.write_all(text.as_bytes()).await;
                    if leaves {
                        return;
                    }
                }
            });
        }
    });
    Raw { asked, task, _filling: Vec::new() }
}

/// Takes no connection: its line of those who wait to be taken is full, and further first packets are dropped.
async fn black_hole(address: SocketAddr) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap();
    // Two in a row that are not taken, for one may be late on a machine where much else runs.
    let (mut filling, mut dropped) = (Vec::new(), 0);
    while dropped < 2 {
        match tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            Ok(taken) => {
                filling.push(taken.unwrap());
                dropped = 0;
            }
            Err(_) => dropped += 1,
        }
        assert!(filling.len() < 64, "the line never fills");
    }
    let task = tokio::spawn(async move {
        let _listener = listener;
        std::future::pending::<()>().await;
    });
    Raw { asked: Arc::default(), task, _filling: filling }
}
