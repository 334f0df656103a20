//! HTTP: one call per POST, the health check, the API's description, and the way to the WebSocket.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, is_upgrade_request, upgrade};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE, WWW_AUTHENTICATE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::operation::{Caller, Effect, Principal};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::patient::Patient;
use super::{Door, Hall, effect, fault, mcp, openapi, socket};

/// A connection's place among those of its door.
#[expect(dead_code, reason = "a permit does its work by being held")]
pub(super) enum Seat {
    /// It needs none.
    Free,
    /// It has one.
    Taken(OwnedSemaphorePermit),
    /// There is none left: it is told so.
    None(OwnedSemaphorePermit),
}

/// Serves one connection to its end.
pub(super) async fn serve<I>(hall: Arc<Hall>, io: I, door: Door, seat: Seat)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let busy = matches!(seat, Seat::None(_));
    // The request that becomes a WebSocket leaves it here, so that this task goes on with it.
    let upgraded: Mutex<Option<(UpgradeFut, Principal)>> = Mutex::new(None);
    {
        let service = service_fn(|request| async {
            let response = match busy {
                true => refusal(
                    &ApiError::new(Code::Unavailable, "there are too many connections").hint("try again in a moment"),
                ),
                false => match answer(&hall, door, request, &upgraded).await {
                    Ok(response) => response,
                    Err(response) => response,
                },
            };
            Ok::<_, Infallible>(response)
        });
        let io = TokioIo::new(Patient::new(io, hall.limits.stall));
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(hall.limits.head)
                .keep_alive(!busy)
                .serve_connection(io, service)
                .with_upgrades()
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = hall.closing() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a connection ended: {error}");
            return;
        }
    }
    let upgraded = upgraded.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some((upgrade, who)) = upgraded
        && let Ok(websocket) = upgrade.await
    {
        socket::serve(hall, websocket.into_inner(), who).await;
    }
}

type Answer = Response<Full<Bytes>>;

/// Answers one request; refusals are answers too, and come as the error for the sake of `?`.
async fn answer(
    hall: &Arc<Hall>,
    door: Door,
    request: Request<Incoming>,
    upgraded: &Mutex<Option<(UpgradeFut, Principal)>>,
) -> Result<Answer, Answer> {
    let (head, body) = request.into_parts();
    hall.gate.check(door, &head).map_err(|error| refusal(&error))?;
    let path = head.uri.path().to_owned();
    if path == "/api/health" {
        only(&[Method::GET, Method::HEAD], &head.method)?;
        return Ok(json_response(&json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })));
    }
    let admitted = hall.gate.admit(door, &head).map_err(|error| refusal(&error))?;
    match (path.as_str(), path.strip_prefix("/api/")) {
        ("/ws", _) => {
            only(&[Method::GET], &head.method)?;
            let mut request = Request::from_parts(head, body);
            let (mut response, upgrade) = handshake(&mut request)?;
            if let Some(protocol) = admitted.protocol {
                response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
            }
            *upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, admitted.who));
            Ok(response)
        }
        ("/api/openapi.json", _) => {
            only(&[Method::GET, Method::HEAD], &head.method)?;
            Ok(json_response(&openapi()))
        }
        ("/mcp", _) => {
            only(&[Method::POST], &head.method)?;
            let body = read(hall, body).await?;
            Ok(mcp::answer(hall, admitted.who, head, body).await)
        }
        (_, Some(operation)) if !operation.is_empty() && !operation.contains('/') => {
            only(&[Method::POST], &head.method)?;
            let params = params(&read(hall, body).await?)?;
            let caller = Caller { who: admitted.who, ..Caller::user() };
            match call(hall, caller, operation.to_owned(), params).await {
                Ok(answer) => Ok(json_response(&answer)),
                Err(error) => Err(refusal(&error)),
            }
        }
        _ => Err(refusal(
            &ApiError::new(Code::NotFound, "there is nothing here")
                .hint("`POST /api/<operation>` calls an operation; `GET /api/openapi.json` lists them"),
        )),
    }
}

/// Reads a body, no longer than it may be and no slower.
async fn read(hall: &Hall, mut body: Incoming) -> Result<Vec<u8>, Answer> {
    let limit = hall.limits.connection.message;
    let too_large = || {
        let error = ApiError::new(Code::InvalidArgument, format!("the body is larger than {limit} bytes"));
        respond(StatusCode::PAYLOAD_TOO_LARGE, &json!(error))
    };
    if body.size_hint().lower() > 2 * limit as u64 {
        return Err(too_large());
    }
    let mut length = 0;
    let mut text = Vec::new();
    loop {
        let frame = match tokio::time::timeout(hall.limits.stall, body.frame()).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(refusal(&ApiError::new(Code::InvalidArgument, format!("the body is broken: {error}"))));
            }
            Err(_) => {
                let error = ApiError::new(Code::InvalidArgument, "the body does not arrive");
                return Err(respond(StatusCode::REQUEST_TIMEOUT, &json!(error)));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        match length {
            _ if length <= limit => text.extend_from_slice(&data),
            // Not much more than what fits is thrown away, so that a peer that writes before it reads learns why.
            _ if length <= 2 * limit => text = Vec::new(),
            _ => return Err(too_large()),
        }
    }
    if length > limit {
        return Err(too_large());
    }
    Ok(text)
}

/// Reads the parameters of a call; an empty body is none.
fn params(text: &[u8]) -> Result<Value, Answer> {
    if text.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(text).map_err(|error| {
        refusal(
            &ApiError::new(Code::InvalidArgument, format!("the body is not JSON: {error}"))
                .hint("send the arguments as an object: {\"agentId\": \"…\"}"),
        )
    })
}

/// Carries out a call in a task of its own, so that a panic ends the call and not the connection. It ends with the
/// connection, and one that only reads also when the doors close.
pub(super) async fn call(hall: &Arc<Hall>, caller: Caller, method: String, params: Value) -> Result<Value, ApiError> {
    let reads = effect(&method) == Some(Effect::Read);
    let mut tasks = JoinSet::new();
    let shared = hall.clone();
    tasks.spawn(async move { shared.call(caller, &method, params).await });
    tokio::select! {
        biased;
        outcome = tasks.join_next() => match outcome {
            Some(Ok(outcome)) => outcome,
            Some(Err(error)) => Err(fault(&error)),
            None => Err(ApiError::new(Code::Internal, "the call is gone")),
        },
        () = hall.closing(), if reads => {
            Err(ApiError::new(Code::Unavailable, "the daemon stops").hint("ask again when it has started again"))
        }
    }
}

fn handshake(request: &mut Request<Incoming>) -> Result<(Answer, UpgradeFut), Answer> {
    let refused = |message: String| {
        let error = ApiError::new(Code::InvalidArgument, message)
            .hint("open a WebSocket here, and send {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"list_agents\"}");
        let mut response = respond(StatusCode::UPGRADE_REQUIRED, &json!(error));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        response
    };
    if !is_upgrade_request(request) {
        return Err(refused("this is not a WebSocket handshake".to_owned()));
    }
    let (response, upgrade) =
        upgrade(request).map_err(|error| refused(format!("this is not a WebSocket handshake: {error}")))?;
    Ok((response.map(|_| Full::default()), upgrade))
}

fn only(allowed: &[Method], method: &Method) -> Result<(), Answer> {
    if allowed.contains(method) {
        return Ok(());
    }
    let names = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let error =
        ApiError::new(Code::InvalidArgument, format!("{method} is not for this path")).hint(format!("use {names}"));
    let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, &json!(error));
    if let Ok(names) = HeaderValue::from_str(&names) {
        response.headers_mut().insert(ALLOW, names);
    }
    Err(response)
}

fn refusal(error: &ApiError) -> Answer {
    let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(status, &json!(error));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn json_response(body: &Value) -> Answer {
    respond(StatusCode::OK, body)
}

fn respond(status: StatusCode, body: &Value) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
