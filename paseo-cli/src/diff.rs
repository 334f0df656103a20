//! Diffs as people read them: numbered lines, each with the color of what happened to it.

use crate::render::{Color, plural};
use crate::table::{clean, fit};

/// What changed in files, line by line.
#[derive(Debug, Default)]
pub struct Diff {
    lines: Vec<Line>,
    added: usize,
    removed: usize,
    /// Whether its end is missing.
    cut: bool,
}

#[derive(Debug)]
enum Line {
    File(String),
    /// Lines that are not in the diff.
    Gap,
    Changed {
        sign: char,
        number: Option<usize>,
        text: String,
    },
}

impl Diff {
    /// Reads a unified diff. What is not understood is shown as it is.
    #[must_use]
    pub fn parse(unified: &str) -> Diff {
        let (mut diff, mut hunk, mut old_name) = (Diff::default(), Hunk::default(), "");
        for line in unified.lines() {
            if let Some(next) = Hunk::parse(line) {
                if matches!(diff.lines.last(), Some(Line::Changed { .. })) {
                    diff.lines.push(Line::Gap);
                }
                hunk = next;
                continue;
            }
            if hunk.is_over() {
                if let Some(name) = line.strip_prefix("--- ") {
                    old_name = name;
                    continue;
                }
                if let Some(name) = line.strip_prefix("+++ ") {
                    diff.lines.push(Line::File(file_name(if name == "/dev/null" { old_name } else { name })));
                    continue;
                }
                if ASIDE.iter().any(|start| line.starts_with(start)) {
                    continue;
                }
            }
            let (sign, text) = match line.split_at_checked(1) {
                // `\ No newline at end of file` is about the line before it.
                Some(("\\", _)) => continue,
                Some((sign @ ("+" | "-" | " "), text)) => (sign.chars().next().unwrap_or(' '), text),
                _ => (' ', line),
            };
            let number = hunk.take(sign);
            diff.push(sign, number, text);
        }
        diff.cut = !hunk.is_over();
        diff
    }

    /// Compares two texts: what they begin and end with in common stays, and all between is replaced.
    #[must_use]
    pub fn between(old: &str, new: &str) -> Diff {
        const AROUND: usize = 2;
        // With their ends, so that a line which changes only there is seen to change.
        let (old, new): (Vec<_>, Vec<_>) = (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
        let begin = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let (old_rest, new_rest) = (&old[begin..], &new[begin..]);
        let end = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
        let mut diff = Diff::default();
        let mut push =
            |sign, lines: &[&str]| lines.iter().for_each(|line| diff.push(sign, None, line.trim_end_matches('\n')));
        push(' ', &old[begin.saturating_sub(AROUND)..begin]);
        push('-', &old_rest[..old_rest.len() - end]);
        push('+', &new_rest[..new_rest.len() - end]);
        push(' ', &old_rest[old_rest.len() - end..][..end.min(AROUND)]);
        diff
    }

    /// Says how many lines it adds and takes away.
    #[must_use]
    pub fn count(&self) -> String {
        let least = if self.cut { "at least " } else { "" };
        match (self.added, self.removed) {
            (0, 0) => format!("{least}no lines changed"),
            (added, 0) => format!("{least}+{added}"),
            (0, removed) => format!("{least}-{removed}"),
            (added, removed) => format!("{least}+{added} -{removed}"),
        }
    }

    /// Returns its first lines, each with its color, and how many more there are.
    #[must_use]
    pub fn shown(&self, most: usize, widest: usize) -> Vec<(Color, String)> {
        let files = self.lines.iter().filter(|line| matches!(line, Line::File(_))).count();
        // The one file is named already where the diff stands.
        let lines: Vec<_> = self.lines.iter().filter(|line| files > 1 || !matches!(line, Line::File(_))).collect();
        let gutter = lines.iter().filter_map(|line| line.number()).max().map_or(0, |number| number.to_string().len());
        let mut shown: Vec<_> = lines
            .iter()
            .take(most)
            .map(|line| line.render(gutter))
            .map(|(color, text)| (color, fit(&text, widest)))
            .collect();
        let (more, least) = (lines.len().saturating_sub(most), if self.cut { "at least " } else { "" });
        match more {
            0 if self.cut => shown.push((Color::Dim, "… and more".to_owned())),
            0 => {}
            _ => shown.push((Color::Dim, format!("… {least}{more} more {}", plural(more, "line")))),
        }
        shown
    }

    fn push(&mut self, sign: char, number: Option<usize>, text: &str) {
        self.added += usize::from(sign == '+');
        self.removed += usize::from(sign == '-');
        self.lines.push(Line::Changed { sign, number, text: clean(&text.replace('\t', "    ")) });
    }
}

impl Line {
    fn number(&self) -> Option<usize> {
        match self {
            Line::Changed { number, .. } => *number,
            Line::File(_) | Line::Gap => None,
        }
    }

    fn render(&self, gutter: usize) -> (Color, String) {
        match self {
            Line::File(name) => (Color::Bold, name.clone()),
            Line::Gap => (Color::Dim, format!("{:>gutter$}", "…")),
            Line::Changed { sign, number, text } => {
                let color = match sign {
                    '+' => Color::Green,
                    '-' => Color::Red,
                    _ => Color::Dim,
                };
                let number = number.map(|number| number.to_string()).unwrap_or_default();
                let space = if gutter > 0 { " " } else { "" };
                (color, format!("{number:>gutter$}{space}{sign} {text}").trim_end().to_owned())
            }
        }
    }
}

/// Where in a file lines of a diff are, and how many of them are still to come.
#[derive(Debug, Default)]
struct Hunk {
    old: Side,
    new: Side,
}

#[derive(Debug, Default)]
struct Side {
    next: usize,
    left: usize,
}

impl Hunk {
    /// Reads `@@ -12,3 +12,4 @@ fn around()`.
    fn parse(line: &str) -> Option<Hunk> {
        let (old, rest) = line.strip_prefix("@@ -")?.split_once(" +")?;
        let (new, _) = rest.split_once(" @@")?;
        Some(Hunk { old: Side::parse(old)?, new: Side::parse(new)? })
    }

    fn is_over(&self) -> bool {
        self.old.left == 0 && self.new.left == 0
    }

    /// Takes a line; returns its number: that of the new file, or of the old one for a line which the new one lacks.
    fn take(&mut self, sign: char) -> Option<usize> {
        match sign {
            '+' => self.new.take(),
            '-' => self.old.take(),
            _ => {
                self.old.take();
                self.new.take()
            }
        }
    }
}

impl Side {
    fn parse(text: &str) -> Option<Side> {
        let (next, left) = text.split_once(',').unwrap_or((text, "1"));
        Some(Side { next: next.parse().ok()?, left: left.parse().ok()? })
    }

    fn take(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let number = self.next;
        self.next = self.next.saturating_add(1);
        Some(number)
    }
}

/// What lines of a diff begin with that say nothing about what is in files.
const ASIDE: [&str; 4] = ["diff --git ", "index ", "new file mode ", "deleted file mode "];

fn file_name(name: &str) -> String {
    let name = name.split('\t').next().unwrap_or(name);
    clean(name.strip_prefix("a/").or_else(|| name.strip_prefix("b/")).unwrap_or(name))
}
