//! How much of a text that is still being written has been printed, so that no byte is printed twice.

use paseo_sdk::item::{Content, ToolCall, omission};

/// How much of one item's text has been printed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Bytes of the text that are dealt with: printed, or given up.
    done: usize,
}

impl Progress {
    /// Items up to this size are kept whole, so what a watcher missed comes when they close.
    const WHOLE: usize = 64 * 1024;

    /// Returns what to print of a piece that stands at `offset`.
    pub(crate) fn delta(&mut self, offset: i64, text: &str) -> String {
        let Ok(offset) = usize::try_from(offset) else { return String::new() };
        let end = offset.saturating_add(text.len());
        if end <= self.done {
            return String::new();
        }
        if offset <= self.done {
            let new = text.get(self.done - offset..).unwrap_or_default().to_owned();
            self.done = end;
            return new;
        }
        if end <= Progress::WHOLE {
            return String::new();
        }
        let hole = omission(i64::try_from(offset - self.done).unwrap_or(i64::MAX));
        self.done = end;
        format!("\n{hole}\n{text}")
    }

    /// Returns what to print when the item is final.
    pub(crate) fn rest(&self, content: &Content) -> String {
        match content {
            Content::UserMessage { text, .. }
            | Content::AssistantMessage { text }
            | Content::Reasoning { text }
            | Content::Compaction { text } => self.after_what_is_done(text),
            Content::ToolCall(call) => self.rest_of_call(call),
            Content::Todo { .. } => String::new(),
        }
    }

    fn after_what_is_done(&self, text: &str) -> String {
        text.get(self.done..).unwrap_or_default().to_owned()
    }

    fn rest_of_call(&self, call: &ToolCall) -> String {
        let Some((head, tail)) = call.ends() else {
            let output = call.output.as_deref().unwrap_or_default();
            // Shortened in words that this version does not know: to print the end again would be worse than not to.
            return if call.omitted_bytes > 0 && self.done > 0 {
                String::new()
            } else {
                self.after_what_is_done(output)
            };
        };
        let tail_at = head.len().saturating_add(usize::try_from(call.omitted_bytes).unwrap_or_default());
        if self.done >= tail_at {
            return tail.get(self.done - tail_at..).unwrap_or_default().to_owned();
        }
        let hole = i64::try_from(tail_at - self.done.max(head.len())).unwrap_or(i64::MAX);
        ToolCall::shortened(head.get(self.done..).unwrap_or_default(), hole, tail)
    }
}
