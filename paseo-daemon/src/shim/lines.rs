//! From bytes to lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use paseo_sdk::provider::Line;

/// Puts lines together from the pieces that arrive, and never holds more than its limit.
pub(crate) struct Splitter {
    partial: Vec<u8>,
    limit: usize,
    /// The rest of a line that was cut is passed over.
    skipping: bool,
}

impl Splitter {
    pub(crate) fn new(limit: usize) -> Splitter {
        Splitter { partial: Vec::new(), limit, skipping: false }
    }

    /// Takes bytes, and gives each line that they end or that outgrows the limit, with whether it was cut.
    pub(crate) fn push(&mut self, mut bytes: &[u8], take: &mut dyn FnMut(Vec<u8>, bool)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.grow(&bytes[..end], take);
            if !std::mem::take(&mut self.skipping) {
                take(std::mem::take(&mut self.partial), false);
            }
            bytes = &bytes[end + 1..];
        }
        self.grow(bytes, take);
    }

    /// Gives the last line, which has no end.
    pub(crate) fn finish(&mut self, take: &mut dyn FnMut(Vec<u8>, bool)) {
        if !self.partial.is_empty() && !self.skipping {
            take(std::mem::take(&mut self.partial), false);
        }
    }

    fn grow(&mut self, piece: &[u8], take: &mut dyn FnMut(Vec<u8>, bool)) {
        if self.skipping {
            return;
        }
        let room = self.limit - self.partial.len();
        self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            self.skipping = true;
            take(std::mem::take(&mut self.partial), true);
        }
    }
}

/// Makes a journal's line of the bytes of one.
pub(crate) fn line(mut bytes: Vec<u8>, cut: bool) -> Line {
    if cut
        && let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        // The cut went through a character.
        bytes.truncate(error.valid_up_to());
    }
    match String::from_utf8(bytes) {
        Ok(text) if !cut => Line::Text(text),
        Ok(text) => Line::Odd { text: Some(text), base64: None, cut },
        Err(error) => Line::Odd { text: None, base64: Some(STANDARD.encode(error.as_bytes())), cut },
    }
}
