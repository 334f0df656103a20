//! Tokens: how a caller over TCP shows that it is the user, and how any caller shows which agent it is.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::model::AgentId;
use paseo_sdk::operation::Principal;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::home::Home;
use crate::store;

/// The user's token, and the secret from which every agent's token follows. Cheap to clone; never shown by `Debug`.
#[derive(Clone)]
pub struct Tokens {
    user: Arc<str>,
    secret: Arc<str>,
}

impl Tokens {
    /// Takes the user's token and the secret as they are given.
    #[must_use]
    pub fn new(user: &str, secret: &str) -> Tokens {
        Tokens { user: user.into(), secret: secret.into() }
    }

    /// Reads the tokens of a home, and makes those that are not there yet. A token from the settings goes before the one
    /// in the file.
    ///
    /// # Errors
    ///
    /// `unavailable` when a file cannot be read or made.
    pub fn load(home: &Home, configured: Option<&str>) -> Result<Tokens, ApiError> {
        let user = match configured {
            Some(token) => token.to_owned(),
            None => kept(&home.token_file())?,
        };
        Ok(Tokens::new(&user, &kept(&home.secret_file())?))
    }

    /// Returns the user's token.
    #[must_use]
    pub fn user_token(&self) -> &str {
        &self.user
    }

    /// Returns the token of an agent: the same for ever, and nowhere stored.
    #[must_use]
    pub fn agent_token(&self, agent: &AgentId) -> String {
        let mut token = format!("{AGENT}{agent}.");
        for byte in self.signature(agent).finalize().into_bytes() {
            token.push_str(&format!("{byte:02x}"));
        }
        token
    }

    /// Returns whose token it is. How long that takes says nothing about the right one.
    #[must_use]
    pub fn principal(&self, token: &str) -> Option<Principal> {
        if !self.user.is_empty() && bool::from(token.as_bytes().ct_eq(self.user.as_bytes())) {
            return Some(Principal::User);
        }
        // The id may contain dots, the signature does not.
        let (id, _) = token.strip_prefix(AGENT)?.rsplit_once('.')?;
        let id: AgentId = id.parse().ok()?;
        bool::from(token.as_bytes().ct_eq(self.agent_token(&id).as_bytes())).then_some(Principal::Agent(id))
    }

    fn signature(&self, agent: &AgentId) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes a key of any length");
        mac.update(agent.as_str().as_bytes());
        mac
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(..)")
    }
}

/// Returns the one line of a file that only we may read, and makes it of random bytes when it is not there.
fn kept(path: &Path) -> Result<String, ApiError> {
    let cannot = |verb: &str, error: &io::Error| {
        ApiError::new(Code::Unavailable, format!("cannot {verb} {}: {error}", path.display()))
    };
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let text = text.trim();
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ApiError::new(
                    Code::Refused,
                    format!("{} does not hold one word of printable characters", path.display()),
                )
                .hint("remove the file: the daemon makes a new one"));
            }
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
                .map_err(|error| cannot("make private", &error))?;
            Ok(text.to_owned())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = random();
            store::replace_bytes(path, format!("{text}\n").as_bytes()).map_err(|error| cannot("write", &error))?;
            Ok(text)
        }
        Err(error) => Err(cannot("read", &error)),
    }
}

/// Returns 64 hexadecimal digits; all but a few of their 256 bits are the system's random ones.
fn random() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// What every agent's token starts with.
const AGENT: &str = "pa1.";
