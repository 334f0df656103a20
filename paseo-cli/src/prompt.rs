//! What people type or pipe in: prompts, pictures, answers.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use paseo_sdk::model::Image;
use paseo_sdk::{ApiError, Code};
use tokio::sync::mpsc;

use crate::exit::{Exit, Failure};
use crate::screen::Screen;

/// Returns the prompt that was typed, or piped in.
pub(crate) fn text(typed: Option<String>) -> Result<String, Failure> {
    let text = match typed {
        Some(text) if text != "-" => text,
        None if io::stdin().is_terminal() => {
            return Err(Failure::usage("the prompt is missing", WHERE));
        }
        _ => {
            let mut bytes = Vec::new();
            io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > LARGEST {
                let hint = "put it into a file and say where it is";
                return Err(Failure::usage(format!("the prompt is larger than {LARGEST} bytes"), hint));
            }
            String::from_utf8(bytes)
                .map_err(|_| Failure::usage("the prompt is not text in UTF-8", "convert it with `iconv -t utf-8`"))?
        }
    };
    match text.trim().is_empty() {
        true => Err(Failure::usage("the prompt is empty", WHERE)),
        false => Ok(text),
    }
}

/// Makes a title of a prompt: its first line, shortened.
pub(crate) fn title(prompt: &str) -> String {
    const LONGEST: usize = 60;
    let line = prompt.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    crate::table::fit(&crate::table::clean(line), LONGEST)
}

/// Reads pictures.
pub(crate) fn images(paths: &[PathBuf]) -> Result<Vec<Image>, Failure> {
    let mut total = 0;
    let mut images = Vec::new();
    for path in paths {
        let media_type = media_type(path)?;
        let bytes = std::fs::read(path)
            .map_err(|error| Failure::usage(format!("--image {}: {error}", path.display()), "give a file's path"))?;
        total += bytes.len() as u64;
        if total > LARGEST {
            return Err(Failure::usage(format!("the pictures are larger than {LARGEST} bytes"), "make them smaller"));
        }
        images.push(Image { media_type, data: base64::engine::general_purpose::STANDARD.encode(bytes) });
    }
    Ok(images)
}

/// Asks before something is taken away; without a person to ask it has to be said beforehand.
pub(crate) fn confirm(screen: &mut Screen, question: &str) -> Result<(), Failure> {
    if !screen.interactive {
        return Err(Failure::usage(question.trim_end_matches('?').to_owned() + " needs a yes", "add --yes"));
    }
    screen.aside(&format!("{} [y/N] ", crate::table::clean(question)))?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    match is_yes(&line) {
        true => Ok(()),
        false => Err(Failure::Refused { exit: Exit::Error, error: ApiError::new(Code::Refused, "nothing was done") }),
    }
}

/// Returns whether somebody said yes.
pub(crate) fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

/// The lines that a person types, while something else goes on.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    typed: Option<mpsc::Receiver<String>>,
}

impl Lines {
    /// Forgets what was typed before the question that comes now.
    pub(crate) fn discard(&mut self) {
        // An input that cannot be flushed has nothing typed ahead.
        let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
        if let Some(typed) = &mut self.typed {
            while typed.try_recv().is_ok() {}
        }
    }

    /// Returns the next line; none at the end of the input.
    pub(crate) async fn next(&mut self) -> Option<String> {
        // Reading a terminal cannot be called off: the thread ends with this process.
        let typed = self.typed.get_or_insert_with(|| {
            let (tell, typed) = mpsc::channel(1);
            std::thread::spawn(move || {
                for line in io::stdin().lines() {
                    let Ok(line) = line else { return };
                    if tell.blocking_send(line).is_err() {
                        return;
                    }
                }
            });
            typed
        });
        typed.recv().await
    }
}

/// Where a prompt comes from.
const WHERE: &str = "give it as the last argument in quotes, or pipe it in";

/// A frame holds 32 MiB, and pictures grow by a third in it.
const LARGEST: u64 = 20 * 1024 * 1024;

fn media_type(path: &Path) -> Result<String, Failure> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    let name = match extension.as_deref() {
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        _ => {
            let message = format!("--image {}: not a picture by its name", path.display());
            return Err(Failure::usage(message, "give a .png, .jpg, .gif or .webp"));
        }
    };
    Ok(name.to_owned())
}
