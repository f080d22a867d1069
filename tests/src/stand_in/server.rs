//! The process of the stand-ins: `tidepool-cluster stand-in`.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::control::{self, Order};
use super::front::Front;
use super::log::Log;
use super::{Config, files};

/// Serves the stand-ins of `folder` until the cluster ends.
pub(crate) fn run(folder: &Path) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start a runtime")?;
    runtime.block_on(serve(folder))
}

async fn serve(folder: &Path) -> Result<()> {
    let config = fs::read_to_string(folder.join(files::CONFIG)).context("cannot read the stand-ins")?;
    let config: Config = serde_json::from_str(&config).context("cannot parse the stand-ins")?;
    let acceptor = acceptor(folder)?;
    let log = Arc::new(Log::open(&folder.join(files::LOG))?);
    let mut registries = Vec::new();
    let mut tasks = JoinSet::new();
    for stand_in in config.stand_ins {
        let (orders, receive) = mpsc::channel(1);
        registries.push((stand_in.name.clone(), orders));
        let address = format!("{}:443", stand_in.address);
        let listener = TcpListener::bind(&address).await.with_context(|| format!("cannot listen on {address}"))?;
        let front = Arc::new(Front::new(stand_in, Arc::clone(&log)));
        tasks.spawn(registry(address, listener, receive, front, acceptor.clone()));
    }
    control::serve(folder, &registries).await
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
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(front), acceptor.clone()));
                }
                Err(error) => eprintln!("cannot accept: {error}"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, front: Arc<Front>, acceptor: TlsAcceptor) {
    // Without it small answers wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request| async { Ok::<_, std::convert::Infallible>(front.answer(request).await) });
    let served = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        eprintln!("connection ended: {error}");
    }
}

fn acceptor(folder: &Path) -> Result<TlsAcceptor> {
    let open = |extension: &str| -> Result<BufReader<File>> {
        let file = folder.join(format!("{}.{extension}", files::SERVER));
        Ok(BufReader::new(File::open(&file).with_context(|| format!("cannot read {}", file.display()))?))
    };
    let chain: Vec<_> = CertificateDer::pem_reader_iter(open("crt")?)
        .collect::<Result<_, _>>()
        .context("cannot parse a certificate")?;
    let key = PrivateKeyDer::from_pem_reader(open("key")?).context("cannot parse a key")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("cannot choose TLS versions")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("cannot use the certificate")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
