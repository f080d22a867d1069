//! The registry that is mirrored: sendfile, a thread a connection, no login, faults and throttles on demand.
//!
//! It has to be much cheaper than whoever is measured, so it understands no more than a puller asks.

mod answer;
mod behaviour;
mod counts;

use std::collections::HashMap;
use std::io::Read as _;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub(crate) use behaviour::{Behaviour, BlobFault, Reach};
pub(crate) use counts::Counts;

use crate::content::Catalogue;
use crate::http::Request;
use tidepool_tests::Pace;

/// Largest head of a request.
const HEAD: usize = 16 << 10;

/// A running upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    catalogue: Arc<Catalogue>,
    behaviour: Mutex<Behaviour>,
    link: Mutex<Option<Pace>>,
    /// Whether the fault that strikes once has struck.
    struck: AtomicBool,
    /// Counts changes of behaviour, so that whoever is held knows that times have changed.
    era: AtomicU64,
    counts: Mutex<Counts>,
    connections: Mutex<HashMap<u64, TcpStream>>,
}

impl Upstream {
    pub(crate) fn start(catalogue: Arc<Catalogue>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port for the upstream")?;
        let shared = Arc::new(Shared {
            address: listener.local_addr().context("the upstream has no address")?,
            catalogue,
            behaviour: Mutex::default(),
            link: Mutex::default(),
            struck: AtomicBool::new(false),
            era: AtomicU64::new(0),
            counts: Mutex::default(),
            connections: Mutex::default(),
        });
        shared.accept(listener);
        Ok(Self { shared })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Changes how it behaves, and ends every connection that there is.
    pub(crate) fn behave(&self, behaviour: Behaviour) -> Result<()> {
        let shared = &self.shared;
        let was_refused = lock(&shared.behaviour).reach == Reach::Refused;
        let refused = behaviour.reach == Reach::Refused;
        *lock(&shared.link) = behaviour.link.map(|rate| Pace::new(rate, Instant::now()));
        *lock(&shared.behaviour) = behaviour;
        shared.struck.store(false, Ordering::SeqCst);
        shared.era.fetch_add(1, Ordering::SeqCst);
        if was_refused && !refused {
            shared.accept(TcpListener::bind(shared.address).context("the upstream's port is gone")?);
        } else if refused && !was_refused {
            self.close_listener()?;
        }
        for (_, connection) in lock(&shared.connections).drain() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        Ok(())
    }

    /// What was asked since the last call.
    pub(crate) fn take_counts(&self) -> Counts {
        std::mem::take(&mut lock(&self.shared.counts))
    }

    /// Wakes the thread that accepts, which then lets go of the listener.
    fn close_listener(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(self.shared.address).is_ok() {
            ensure!(Instant::now() < deadline, "the upstream does not stop listening");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: TcpListener) {
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            for (id, stream) in (0..).zip(listener.incoming()) {
                if lock(&shared.behaviour).reach == Reach::Refused {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let Ok(handle) = stream.try_clone() else { continue };
                let id = shared.era.load(Ordering::SeqCst) << 32 | id;
                lock(&shared.connections).insert(id, handle);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A connection that breaks is the client's affair; what was sent is counted.
                    let _ = shared.converse(stream);
                    lock(&shared.connections).remove(&id);
                });
            }
        });
    }

    fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut buffer, mut filled) = (vec![0; HEAD], 0);
        loop {
            while let Some((request, used)) = Request::parse(&buffer[..filled])? {
                buffer.copy_within(used..filled, 0);
                filled -= used;
                self.answer(&mut stream, &request)?;
            }
            match stream.read(&mut buffer[filled..])? {
                0 => return Ok(()),
                count => filled += count,
            }
        }
    }

    /// Waits until behaviour changes.
    fn hold(&self) {
        let era = self.era.load(Ordering::SeqCst);
        while self.era.load(Ordering::SeqCst) == era {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
