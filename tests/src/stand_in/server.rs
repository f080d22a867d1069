//! The process of the stand-ins: `tidepool-cluster stand-in`.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::control::{self, Controlled, Order};
use super::front::Front;
use super::log::Log;
use super::{Config, egress, files, tls};

/// Serves the stand-ins of `folder` until the cluster ends.
pub(crate) fn run(folder: &Path) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start a runtime")?;
    runtime.block_on(serve(folder))
}

async fn serve(folder: &Path) -> Result<()> {
    let config = fs::read_to_string(folder.join(files::CONFIG)).context("cannot read the stand-ins")?;
    let config: Config = serde_json::from_str(&config).context("cannot parse the stand-ins")?;
    let log = Arc::new(Log::open(&folder.join(files::LOG))?);
    let mut registries = Vec::new();
    let mut tasks = JoinSet::new();
    for stand_in in config.stand_ins {
        let acceptor = tls::acceptor(folder, stand_in.client_certificate)?;
        let (listener, orders) = mpsc::channel(1);
        let address = format!("{}:443", stand_in.address);
        let bound = TcpListener::bind(&address).await.with_context(|| format!("cannot listen on {address}"))?;
        let front = Arc::new(Front::new(stand_in, Arc::clone(&log)));
        registries.push(Controlled { front: Arc::clone(&front), listener });
        tasks.spawn(registry(address, bound, orders, front, acceptor));
    }
    let control = control::serve(folder, &registries);
    let Some(out) = config.egress else { return control.await };
    let fronts = registries.iter().map(|registry| Arc::clone(&registry.front)).collect();
    tokio::try_join!(control, egress::serve(out, folder, fronts)).map(|_: ((), ())| ())
}

/// Serves one registry, and not while it is switched off: then its connections are cut and new ones refused.
async fn registry(
    address: String,
    first: TcpListener,
    mut orders: mpsc::Receiver<Order>,
    front: Arc<Front>,
    acceptor: TlsAcceptor,
) {
    let mut listener = Some(first);
    while let Some(order) = accept(listener.take(), &mut orders, &front, &acceptor).await {
        if order.on {
            match TcpListener::bind(&address).await {
                Ok(bound) => listener = Some(bound),
                Err(error) => {
                    eprintln!("cannot listen on {address}: {error}");
                    continue;
                }
            }
        }
        // Nobody may be waiting any more.
        let _ = order.done.send(());
    }
}

/// Accepts connections until an order comes; returning drops listener and connections.
async fn accept(
    listener: Option<TcpListener>,
    orders: &mut mpsc::Receiver<Order>,
    front: &Arc<Front>,
    acceptor: &TlsAcceptor,
) -> Option<Order> {
    let mut connections = JoinSet::new();
    let Some(listener) = listener else { return orders.recv().await };
    loop {
        tokio::select! {
            order = orders.recv() => return order,
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => {
                    connections.spawn(connection(stream, client.ip(), Arc::clone(front), acceptor.clone()));
                }
                Err(error) => eprintln!("cannot accept: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, client: IpAddr, front: Arc<Front>, acceptor: TlsAcceptor) {
    // Without it small answers wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let client = client.to_string();
    let answer = |request| async { Ok::<_, std::convert::Infallible>(front.answer(request, &client).await) };
    let service = service_fn(answer);
    let served = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        eprintln!("connection ended: {error}");
    }
}
