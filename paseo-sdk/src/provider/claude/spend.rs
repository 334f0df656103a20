//! Tokens and money: the program counts them from its start, a turn is charged the difference.

use serde_json::Value;

use crate::model::Usage;

/// What the process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spent(pub(super) Usage);

impl Spent {
    /// Takes what a `result` says, and returns what came since the one before.
    pub(super) fn turn(&mut self, result: &Value) -> Usage {
        let Some(now) = total(result) else { return Usage::default() };
        let before = std::mem::replace(&mut self.0, now);
        Usage {
            input_tokens: (now.input_tokens - before.input_tokens).max(0),
            cached_tokens: (now.cached_tokens - before.cached_tokens).max(0),
            output_tokens: (now.output_tokens - before.output_tokens).max(0),
            cost_usd: now.cost_usd.map(|cost| rounded((cost - before.cost_usd.unwrap_or(0.0)).max(0.0))),
        }
    }
}

/// Takes off what subtracting has added behind the billionth of a dollar.
fn rounded(cost: f64) -> f64 {
    (cost * 1e9).round() / 1e9
}

/// Adds up all models, which includes what sub-agents used.
fn total(result: &Value) -> Option<Usage> {
    let models = result["modelUsage"].as_object()?;
    let count = |model: &Value, field: &str| model[field].as_i64().unwrap_or(0).clamp(0, MOST);
    let cost = result["total_cost_usd"].as_f64().map(|cost| cost.clamp(0.0, MOST_MONEY));
    let mut total = Usage { cost_usd: cost, ..Usage::default() };
    for model in models.values().take(64) {
        total.input_tokens += count(model, "inputTokens") + count(model, "cacheCreationInputTokens");
        total.cached_tokens += count(model, "cacheReadInputTokens");
        total.output_tokens += count(model, "outputTokens");
    }
    Some(total)
}

/// More tokens than anybody uses; beyond it the line is nonsense.
const MOST: i64 = 1 << 50;

const MOST_MONEY: f64 = 1e9;
