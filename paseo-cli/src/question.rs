//! The questions in a permission request of kind `question`: their choices, and what a typed answer means.

use std::collections::BTreeSet;

use paseo_sdk::model::{Permission, PermissionKind};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::render::{Color, View, one_line};
use crate::table::{clean, width};

/// One question, with answers to choose from. Words of one's own are an answer too.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    question: String,
    #[serde(default)]
    options: Vec<Choice>,
    #[serde(default)]
    multi_select: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Choice {
    label: String,
    #[serde(default)]
    description: String,
}

/// Returns the questions that a permission request asks; none when it is about something else.
#[must_use]
pub fn questions(permission: &Permission) -> Vec<Question> {
    match permission.kind {
        PermissionKind::Question => Vec::deserialize(&permission.input["questions"]).unwrap_or_default(),
        PermissionKind::Tool | PermissionKind::Plan | PermissionKind::Other => Vec::new(),
    }
}

/// Returns the `updatedInput` that gives each question its answer.
#[must_use]
pub fn answered(questions: &[Question], answers: &[String]) -> Value {
    let answers: serde_json::Map<_, _> =
        questions.iter().zip(answers).map(|(question, answer)| (question.question.clone(), json!(answer))).collect();
    json!({ "answers": answers })
}

impl Question {
    /// Reads an answer: the number of a choice, or several where that is wanted; a choice's words; or other words.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(&self, line: &str) -> Result<String, String> {
        let line = line.trim();
        if line.trim_matches(',').is_empty() {
            return Err("an answer is missing".to_owned());
        }
        let label =
            self.options.iter().map(|choice| &choice.label).find(|label| label.to_lowercase() == line.to_lowercase());
        if let Some(label) = label {
            return Ok(label.clone());
        }
        let quoted = line.strip_prefix('"').and_then(|line| line.strip_suffix('"'));
        if let Some(quoted) = quoted.filter(|text| !text.trim().is_empty()) {
            return Ok(quoted.to_owned());
        }
        let parts: Vec<_> = line.split([',', ' ']).filter(|part| !part.is_empty()).collect();
        if !parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit())) {
            return Ok(line.to_owned());
        }
        if parts.len() > 1 && !self.multi_select {
            return Err("one choice only".to_owned());
        }
        let mut chosen = BTreeSet::new();
        for part in parts {
            let at = part.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            match at.filter(|at| *at < self.options.len()) {
                Some(at) => chosen.insert(at),
                None => return Err(format!("there is no choice {part}; to say the number itself, write \"{part}\"")),
            };
        }
        let labels: Vec<_> = chosen.into_iter().map(|at| self.options[at].label.as_str()).collect();
        Ok(labels.join(", "))
    }

    /// Shows it with its choices, one on each line.
    #[must_use]
    pub fn render(&self, view: &View, at: usize, of: usize) -> String {
        let place = if of > 1 { format!(" {} of {of}", at + 1) } else { String::new() };
        let several = if self.multi_select { " (several may be chosen)" } else { "" };
        let heading = format!("question{place}: {}{several}", line(&self.question));
        let widest = self.options.iter().map(|choice| width(&line(&choice.label))).max().unwrap_or_default();
        let mut text = view.paint(Color::Yellow, &heading) + "\n";
        for (at, choice) in self.options.iter().enumerate() {
            let label = line(&choice.label);
            let padding = " ".repeat(widest - width(&label));
            let row =
                format!("    {}  {label}{padding}  {}", at + 1, view.paint(Color::Dim, &line(&choice.description)));
            text += if choice.description.is_empty() { row.trim_end() } else { &row };
            text.push('\n');
        }
        text
    }

    /// Returns it with its choices on one line.
    #[must_use]
    pub fn brief(&self) -> String {
        let choices = self.options.iter().enumerate().map(|(at, choice)| format!("{} {}", at + 1, line(&choice.label)));
        match choices.collect::<Vec<_>>().join(", ") {
            choices if choices.is_empty() => line(&self.question),
            choices => format!("{} ({choices})", line(&self.question)),
        }
    }

    /// Returns what a person is told to type.
    pub(crate) fn prompt(&self) -> &'static str {
        match (self.options.is_empty(), self.multi_select) {
            (true, _) => "your answer, or 0 to decline: ",
            (false, false) => "a number, words of your own, or 0 to decline: ",
            (false, true) => "numbers with commas between, words of your own, or 0 to decline: ",
        }
    }
}

fn line(text: &str) -> String {
    clean(&one_line(text))
}
