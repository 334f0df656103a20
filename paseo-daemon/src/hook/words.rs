//! What a hook's end is called: sentences for people, made of what commands are and print.

use std::fmt::Write as _;

/// Names a command within a sentence: its first line, cut where it is long.
pub(super) fn called(command: &str) -> String {
    let command = command.trim();
    let line = plain(command.lines().next().unwrap_or_default());
    let short: String = line.chars().take(LONGEST_NAME).collect();
    match short.len() < line.len() || command.lines().nth(1).is_some() {
        true => format!("`{short}…`"),
        false => format!("`{short}`"),
    }
}

/// Adds the last lines of what a command printed to a sentence.
pub(super) fn with_last_lines(mut sentence: String, printed: &[u8]) -> String {
    let printed = String::from_utf8_lossy(printed);
    // What a terminal would show of a line that was written over, such as a bar of progress.
    let lines = printed.lines().map(|line| plain(line.trim_end().rsplit('\r').next().unwrap_or_default()));
    let lines: Vec<String> = lines.collect();
    let mut last = Vec::new();
    let mut room = LAST_WORDS;
    for line in lines.iter().rev().map(|line| line.trim_end()).filter(|line| !line.is_empty()) {
        if line.len() > room {
            if last.is_empty() {
                let start = (line.len() - room..).find(|start| line.is_char_boundary(*start)).unwrap_or_default();
                last.push(&line[start..]);
            }
            break;
        }
        last.push(line);
        room = room.saturating_sub(line.len() + 1);
    }
    last.reverse();
    if !last.is_empty() {
        let _ = write!(sentence, ": {}", last.join("\n"));
    }
    sentence
}

/// Takes out what only a terminal understands: colours and the like, with the characters that begin them.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => match letters.next() {
                Some('[') => drop(letters.find(|letter| ('@'..='~').contains(letter))),
                // A title or a link, up to a bell or another escape.
                Some(']') => while letters.next_if(|letter| !matches!(letter, '\u{7}' | '\u{1b}')).is_some() {},
                _ => {}
            },
            '\t' => out.push(' '),
            letter if letter.is_control() => {}
            letter => out.push(letter),
        }
    }
    out
}

/// How many characters of a command stand in a sentence.
const LONGEST_NAME: usize = 80;

/// How much of the last lines is said, in bytes.
const LAST_WORDS: usize = 500;
