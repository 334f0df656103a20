//! `/mcp`: the tools over Streamable HTTP. Each request stands alone, shows who makes it, and is answered as JSON.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::operation::{Caller, Principal};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;

use super::{Hall, http};
use crate::mcp::message::{self, Wrong};
use crate::mcp::{Call, Tools, Way};

/// Answers a request whose body is here and which the gate has let in. Whoever drops this drops the call.
pub(super) async fn answer(hall: &Arc<Hall>, who: Principal, mut head: Parts, body: Vec<u8>) -> Response<Full<Bytes>> {
    if head.method == Method::POST
        && let Err(Wrong::Answer(refusal)) = message::read(&body)
    {
        return refused(&refusal);
    }
    head.extensions.insert(Caller { who, ..Caller::user() });
    let tools = {
        let hall = hall.clone();
        move || Ok(Tools::over(Inside { hall: hall.clone() }))
    };
    // The gate has looked at `Host` and `Origin`, and the body has the size of other bodies.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .disable_allowed_hosts()
        .with_max_request_body_bytes(usize::MAX);
    let service = StreamableHttpService::new(tools, Arc::new(NeverSessionManager::default()), config);
    let response = service.handle(Request::from_parts(head, Full::new(Bytes::from(body)))).await;
    let (mut head, body) = response.into_parts();
    head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let Ok(body) = body.collect().await;
    Response::from_parts(head, Full::new(body.to_bytes()))
}

/// Answers a body that is no message in the protocol itself.
fn refused(refusal: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(refusal.to_string())));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Calls within the daemon, with the rights of whoever made the request.
struct Inside {
    hall: Arc<Hall>,
}

impl Way for Inside {
    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        let Call { operation, arguments, context, .. } = call;
        let caller = context.extensions.get::<Parts>().and_then(|head| head.extensions.get::<Caller>());
        let caller = caller.ok_or_else(|| ApiError::new(Code::Internal, "nobody knows who makes this call"))?.clone();
        http::call(&self.hall, caller, operation.to_owned(), Value::Object(arguments)).await
    }
}
