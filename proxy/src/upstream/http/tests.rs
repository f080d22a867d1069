//! Connections to an address that is to be avoided.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// Answers everything, on connections that stay.
fn serve(listener: TcpListener) {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                }
            });
        }
    });
}

#[tokio::test]
async fn p10_an_address_to_be_avoided_is_left_also_where_a_connection_to_it_is_open() {
    tidepool_runtime::install_crypto();
    let one = TcpListener::bind("127.79.0.1:0").await.unwrap();
    let port = one.local_addr().unwrap().port();
    let other = TcpListener::bind(("127.79.0.2", port)).await.unwrap();
    serve(one);
    serve(other);
    let lookup = Lookup::new(move |_| async move { Ok([1, 2].map(|last| ([127, 79, 0, last], 0).into()).to_vec()) });
    let base = Url::parse(&format!("http://reg.test:{port}")).unwrap();
    let http = Http::to(&base, lookup);
    let ask = async || {
        let (headers, course) = (HeaderMap::new(), Course::default());
        let answer = http.send(&Method::GET, base.clone(), &headers, None, &course).await.unwrap();
        answer.remote_addr().unwrap()
    };
    let (first, second): (SocketAddr, SocketAddr) = (([127, 79, 0, 1], port).into(), ([127, 79, 0, 2], port).into());
    assert_eq!([ask().await, ask().await], [first; 2]);
    http.avoid(first);
    http.avoid(first); // by each of many connections that it cut
    assert_eq!([ask().await, ask().await], [second; 2]);
    http.avoid(second);
    assert_eq!(ask().await, first, "the one that failed longer ago");
}
