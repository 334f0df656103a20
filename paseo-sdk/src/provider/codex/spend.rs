//! Tokens: the program counts them from the beginning of the thread, a turn is charged what came since.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::Usage;

/// What the thread has used, as far as the program has said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Spent(Option<Usage>);

impl Spent {
    /// Takes what `thread/tokenUsage/updated` says, and returns what came since it did so before.
    pub(super) fn grow(&mut self, usage: &Value) -> Usage {
        let total = counted(&usage["total"]);
        let before = self.0.replace(total).unwrap_or_else(|| since(counted(&usage["last"]), total));
        since(before, total)
    }
}

fn since(before: Usage, now: Usage) -> Usage {
    Usage {
        input_tokens: (now.input_tokens - before.input_tokens).max(0),
        cached_tokens: (now.cached_tokens - before.cached_tokens).max(0),
        output_tokens: (now.output_tokens - before.output_tokens).max(0),
        cost_usd: None,
    }
}

/// Reads a count; the program has what came from a cache among the tokens read.
fn counted(usage: &Value) -> Usage {
    let count = |field: &str| usage[field].as_i64().unwrap_or(0).clamp(0, MOST);
    let cached = count("cachedInputTokens");
    Usage {
        input_tokens: (count("inputTokens") - cached).max(0),
        cached_tokens: cached,
        output_tokens: count("outputTokens"),
        cost_usd: None,
    }
}

/// More tokens than anybody uses; beyond it the line is nonsense.
const MOST: i64 = 1 << 50;
