//! A door without a lock: it passes requests on with the token that their sender has no way to give.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, client::conn::http1 as client};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Serves a daemon at a port of its own until this is dropped, and returns where.
pub(super) async fn open(daemon: String, token: String) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (daemon, token) = (daemon.clone(), token.clone());
            connections.spawn(async move {
                let service = service_fn(|request| pass_on(request, &daemon, &token));
                let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, tasks)
}

async fn pass_on(
    mut request: Request<Incoming>,
    daemon: &str,
    token: &str,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("a token");
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let stream = TcpStream::connect(daemon).await.expect("the daemon listens");
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.expect("a connection");
    let answer = async move {
        let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
        Response::from_parts(head, Full::new(body.collect().await.expect("a body").to_bytes()))
    };
    let (answer, _) = tokio::join!(answer, connection);
    Ok(answer)
}
