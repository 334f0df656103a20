//! A permission request put to a person: typed lines in, a decision out.

use paseo_sdk::model::{Behavior, Decision, Permission, PermissionOption};

use crate::permission::{body, description, plain};
use crate::question::{Question, answered, questions};
use crate::render::View;
use crate::table::clean;

/// A permission request that a person is being asked about.
#[derive(Clone, Debug)]
pub struct Asking {
    permission: Permission,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    /// Whether the agent may.
    Whether,
    /// What it is told in place of a yes, or of an answer.
    Message,
    /// What the next question is answered with.
    Answer { questions: Vec<Question>, answers: Vec<String> },
}

/// What follows from a typed line.
#[derive(Debug)]
pub enum Typed {
    /// Something is to be shown, and another line to be typed.
    Again(Asking, String),
    /// It is decided.
    Decided(Permission, Decision),
}

impl Asking {
    /// Begins to ask.
    #[must_use]
    pub fn new(permission: Permission) -> Asking {
        let step = match questions(&permission) {
            questions if questions.is_empty() => Step::Whether,
            questions => Step::Answer { questions, answers: Vec::new() },
        };
        Asking { permission, step }
    }

    /// Returns the request.
    #[must_use]
    pub fn permission(&self) -> &Permission {
        &self.permission
    }

    /// Shows what is asked, and what can be typed.
    #[must_use]
    pub fn render(&self, view: &View) -> String {
        let before = match &self.step {
            Step::Whether => {
                let rows = keys(&self.permission.options)
                    .into_iter()
                    .map(|(key, option)| format!("    [{key}] {}\n", clean(&option.label)));
                body(view, &self.permission) + &rows.collect::<String>()
            }
            Step::Message => String::new(),
            Step::Answer { questions, answers } => {
                let about = if answers.is_empty() { description(&self.permission) } else { String::new() };
                let at = answers.len();
                about
                    + &questions.get(at).map(|question| question.render(view, at, questions.len())).unwrap_or_default()
            }
        };
        before + &self.prompt()
    }

    /// Takes a typed line.
    #[must_use]
    pub fn typed(mut self, view: &View, line: &str) -> Typed {
        let line = line.trim();
        match self.step {
            Step::Whether => self.whether(line),
            Step::Message => {
                let message = Some(line.to_owned()).filter(|line| !line.is_empty());
                Typed::Decided(self.permission, Decision { message, ..plain(Behavior::Deny) })
            }
            Step::Answer { .. } if line == "0" => self.tell(),
            Step::Answer { ref questions, ref mut answers } => {
                let Some(question) = questions.get(answers.len()) else { return self.tell() };
                match question.read(line) {
                    Ok(answer) => answers.push(answer),
                    Err(problem) => {
                        let text = format!("{}\n{}", clean(&problem), question.prompt());
                        return Typed::Again(self, text);
                    }
                }
                if answers.len() < questions.len() {
                    let text = self.render(view);
                    return Typed::Again(self, text);
                }
                let updated_input = Some(answered(questions, answers));
                Typed::Decided(self.permission, Decision { updated_input, ..plain(Behavior::Allow) })
            }
        }
    }

    fn whether(self, line: &str) -> Typed {
        let word = line.to_lowercase();
        let decision = match word.as_str() {
            "y" | "yes" => plain(Behavior::Allow),
            "n" | "no" => plain(Behavior::Deny),
            "m" | "message" => return self.tell(),
            _ => {
                let chosen = keys(&self.permission.options)
                    .into_iter()
                    .find(|(key, option)| *key == word || option.option_id == line)
                    .map(|(_, option)| option.option_id.clone());
                match chosen {
                    Some(_) => Decision { option_id: chosen, ..plain(Behavior::Allow) },
                    None => {
                        let text = self.prompt();
                        return Typed::Again(self, text);
                    }
                }
            }
        };
        Typed::Decided(self.permission, decision)
    }

    /// Goes on to what the agent is told in place of a yes.
    fn tell(self) -> Typed {
        let asking = Asking { step: Step::Message, ..self };
        let text = asking.prompt();
        Typed::Again(asking, text)
    }

    fn prompt(&self) -> String {
        match &self.step {
            Step::Whether => {
                let options = keys(&self.permission.options);
                let options = options.iter().map(|(key, option)| format!(" / {}", marked(key, &option.option_id)));
                format!("[y]es / [n]o / [m]essage{}: ", options.collect::<String>())
            }
            Step::Message => "not allowed; tell the agent (Enter for nothing): ".to_owned(),
            Step::Answer { questions, answers } => {
                questions.get(answers.len()).map(|question| question.prompt().to_owned()).unwrap_or_default()
            }
        }
    }
}

/// Gives each option a key: the first letter of it that is free, else its number.
fn keys(options: &[PermissionOption]) -> Vec<(String, &PermissionOption)> {
    let mut taken = vec!['y', 'n', 'm'];
    let with_key = options.iter().enumerate().map(|(at, option)| {
        let letters = option.option_id.chars().chain(option.label.chars()).map(|c| c.to_ascii_lowercase());
        let key = match letters.filter(char::is_ascii_lowercase).find(|c| !taken.contains(c)) {
            Some(letter) => {
                taken.push(letter);
                letter.to_string()
            }
            None => (at + 1).to_string(),
        };
        (key, option)
    });
    with_key.collect()
}

/// Returns a name with its key in brackets: `[a]lways`.
fn marked(key: &str, name: &str) -> String {
    const LONGEST: usize = 20;
    let name = clean(name);
    match name.to_ascii_lowercase().find(key) {
        _ if name.len() > LONGEST => format!("[{key}]"),
        Some(at) => format!("{}[{}]{}", &name[..at], &name[at..at + key.len()], &name[at + key.len()..]),
        None => format!("[{key}] {name}"),
    }
}
