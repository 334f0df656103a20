//! Tables that fit where they are shown.

use crate::render::{Color, View};

/// Rows of cells under headings; each column as wide as it must be, the last one without padding.
#[derive(Debug)]
pub struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell {
    /// What it says, on one line.
    pub text: String,
    /// In which color.
    pub color: Option<Color>,
}

impl Cell {
    /// Makes a cell.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), color: None }
    }

    /// Makes a cell with a color.
    #[must_use]
    pub fn painted(text: impl Into<String>, color: Color) -> Cell {
        Cell { text: text.into(), color: Some(color) }
    }
}

impl Table {
    /// Begins a table.
    #[must_use]
    pub fn new(headings: &'static [&'static str]) -> Table {
        Table { headings, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Writes the table, shortened to the width of `view`.
    #[must_use]
    pub fn render(&self, view: &View) -> String {
        let mut widths: Vec<_> = self.headings.iter().map(|heading| width(heading)).collect();
        for row in &self.rows {
            for (at, cell) in row.iter().enumerate().take(widths.len()) {
                widths[at] = widths[at].max(width(&cell.text));
            }
        }
        if let Some(available) = view.width {
            shrink(&mut widths, available);
        }
        let headings: Vec<_> = self.headings.iter().map(|heading| Cell::painted(*heading, Color::Dim)).collect();
        std::iter::once(&headings).chain(&self.rows).map(|row| line(view, row, &widths) + "\n").collect()
    }
}

/// Makes text safe to stand in one line of a terminal: controls, and marks that change the order of what is read, are
/// shown as escapes.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(c.escape_unicode())
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Returns how many columns text takes, closely enough for tables.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Shortens text to a width, with a mark where something is missing.
#[must_use]
pub fn fit(text: &str, available: usize) -> String {
    if width(text) <= available {
        return text.to_owned();
    }
    let mut taken = 0;
    let kept = text.chars().take_while(|c| {
        taken += char_width(*c);
        taken < available
    });
    let mut kept: String = kept.collect();
    if available > 0 {
        kept.push('…');
    }
    kept
}

/// The space between columns.
const GAP: usize = 2;

/// No column is made narrower than this.
const NARROWEST: usize = 8;

/// Takes from the widest column until all fit; where they cannot, lines are left to be too long.
fn shrink(widths: &mut [usize], available: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > available {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => return,
        }
    }
}

fn line(view: &View, row: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    for (at, (cell, available)) in row.iter().zip(widths).enumerate() {
        let text = fit(&cell.text, *available);
        let padding = if at + 1 == row.len() { 0 } else { available - width(&text) + GAP };
        match cell.color {
            Some(color) => line.push_str(&view.paint(color, &text)),
            None => line.push_str(&text),
        }
        line.extend(std::iter::repeat_n(' ', padding));
    }
    line
}

fn char_width(c: char) -> usize {
    match u32::from(c) {
        // Combining marks, joiners and variation selectors.
        0x0300..=0x036f | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        // East Asian wide characters and pictures.
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}
