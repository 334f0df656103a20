//! The gate: who a request comes from, and whether it may come in at all. It decides and does nothing.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::operation::Principal;

use super::Door;
use crate::token::Tokens;

/// What the doors check.
pub(super) struct Gate {
    pub(super) tokens: Tokens,
    pub(super) hosts: Vec<String>,
    pub(super) origins: Vec<String>,
}

/// A request that may come in.
#[derive(Debug)]
pub(super) struct Admitted {
    /// Whose it is.
    pub(super) who: Principal,
    /// The subprotocol that carried the token; the answer to an upgrade must repeat it.
    pub(super) protocol: Option<HeaderValue>,
}

impl Gate {
    /// Checks what can be known of a request without its token: that no foreign name and no foreign page brought it here.
    pub(super) fn check(&self, door: Door, request: &Parts) -> Result<(), ApiError> {
        if door == Door::Trusted {
            return Ok(());
        }
        let host = one(&request.headers, HOST).and_then(|host| host.parse::<Authority>().ok());
        // A request line with a whole address in it names the host a second time.
        let named = host.iter().chain(request.uri.authority());
        if host.is_none() || !named.into_iter().all(|host| self.allows_host(host)) {
            return Err(ApiError::new(Code::Forbidden, "this host name is not allowed")
                .hint("call it by `localhost` or an address, or add the name to `hosts` in config.json"));
        }
        if !request.headers.contains_key(ORIGIN) {
            return Ok(());
        }
        match one(&request.headers, ORIGIN) {
            Some(origin) if self.allows_origin(origin, host.as_ref()) => Ok(()),
            _ => Err(ApiError::new(Code::Forbidden, "pages of this origin are not allowed")
                .hint("add the origin, such as `https://example.com`, to `origins` in config.json")),
        }
    }

    /// Finds out who calls.
    pub(super) fn admit(&self, door: Door, request: &Parts) -> Result<Admitted, ApiError> {
        let protocols = || {
            let headers = request.headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
            headers.filter_map(|header| header.to_str().ok()).flat_map(|header| header.split(',')).map(str::trim)
        };
        let protocol = protocols().find(|protocol| protocol.starts_with(SUBPROTOCOL));
        let token = match request.headers.contains_key(AUTHORIZATION) {
            true => Some(one(&request.headers, AUTHORIZATION).and_then(bearer).ok_or_else(wrong)?),
            false => protocol.and_then(|protocol| protocol.strip_prefix(SUBPROTOCOL)),
        };
        let who = match (token, door) {
            (Some(token), _) => self.tokens.principal(token).ok_or_else(wrong)?,
            (None, Door::Trusted) => Principal::User,
            (None, Door::Guarded) => {
                return Err(ApiError::new(Code::Unauthorized, "a token is needed here").hint(
                    "send `Authorization: Bearer <token>`; `paseo daemon token` prints it, or use the unix socket",
                ));
            }
        };
        Ok(Admitted { who, protocol: protocol.and_then(|protocol| HeaderValue::from_str(protocol).ok()) })
    }

    fn allows_host(&self, host: &Authority) -> bool {
        let name = bare(host.host());
        if name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok() {
            return true;
        }
        self.hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(name) || allowed.eq_ignore_ascii_case(host.as_str()))
    }

    fn allows_origin(&self, origin: &str, host: Option<&Authority>) -> bool {
        let same = origin.split_once("://").zip(host).is_some_and(|((scheme, authority), host)| {
            matches!(scheme, "http" | "https") && authority.eq_ignore_ascii_case(host.as_str())
        });
        same || self.origins.iter().any(|allowed| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin))
    }
}

/// Returns a header's value when it is there exactly once: two are an attempt to be read in two ways.
fn one(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn bare(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn wrong() -> ApiError {
    ApiError::new(Code::Unauthorized, "this token is not one of this daemon's")
        .hint("`paseo daemon token` prints the right one")
}

/// What a browser, which cannot set headers on a WebSocket, puts before the token.
const SUBPROTOCOL: &str = "bearer.";
