//! What is odd about a task, and no reason to refuse it: a model, or a manner of thinking, that its program does not list.

use paseo_sdk::model::Model;

use crate::Core;

impl Core {
    /// Returns what is known to be odd about a model, and about how much it is to think. Nobody is asked for that.
    pub(crate) fn doubts(&self, name: &str, model: Option<&str>, thinking: Option<&str>) -> Vec<String> {
        let usual = self.launcher.kinds.find(name).and_then(|kind| kind.variant?.model.as_deref());
        match self.said.models.known(name) {
            // What the settings name is meant so.
            Some(known) if model.is_none() || model != usual => doubts(name, &known.value, model, thinking),
            _ => Vec::new(),
        }
    }
}

fn doubts(name: &str, models: &[Model], model: Option<&str>, thinking: Option<&str>) -> Vec<String> {
    let wanted = model.unwrap_or("default");
    // What stands in brackets is a manner of the same model.
    let family = |model: &str| model.split('[').next().map(str::to_owned);
    let listed = models
        .iter()
        .find(|listed| listed.model == wanted)
        .or_else(|| models.iter().find(|listed| family(&listed.model) == family(wanted)));
    match (listed, model, thinking) {
        (None, Some(model), _) if !models.is_empty() => {
            let shown = model.escape_debug();
            vec![format!(
                "{name} does not list the model `{shown}`, and is asked for it all the same; `paseo provider models \
                 {name}` shows what it lists"
            )]
        }
        (Some(listed), _, Some(thinking)) if !listed.thinking.iter().any(|level| level == thinking) => {
            let (shown, model) = (thinking.escape_debug(), &listed.model);
            let has = match listed.thinking.is_empty() {
                true => "it lists none".to_owned(),
                false => format!("it lists {}", listed.thinking.join(", ")),
            };
            vec![format!("the model `{model}` of {name} does not list the thinking `{shown}`: {has}")]
        }
        _ => Vec::new(),
    }
}
