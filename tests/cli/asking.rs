//! Permission requests in a terminal: what is shown, what is typed, what is decided.

use paseo_cli::asking::{Asking, Typed};
use paseo_cli::render::View;
use paseo_sdk::model::{Permission, PermissionOption};
use serde_json::json;

use crate::cli::render::asked;

#[test]
fn a_permission_is_answered_with_a_key_or_with_words() {
    let bash = ask("bash");
    let text = [
        typed(&bash, &["y"]),
        typed(&bash, &[" NO "]),
        typed(&bash, &["a"]),
        typed(&bash, &["always"]),
        typed(&bash, &["m", "use the staging database"]),
        typed(&bash, &["m", ""]),
        typed(&bash, &["", "maybe", "y"]),
    ];
    insta::assert_snapshot!("permission", text.join("\n"));
}

#[test]
fn a_plan_is_carried_out_refused_or_sent_back() {
    let plan = ask("plan");
    let text = [typed(&plan, &["yes"]), typed(&plan, &["a"]), typed(&plan, &["m", "test it \u{1b}[31mfirst"])];
    insta::assert_snapshot!("plan", text.join("\n"));
}

#[test]
fn a_question_is_answered_with_a_choice_or_with_other_words() {
    let question = ask("question");
    let text = [
        typed(&question, &["1"]),
        typed(&question, &["dark RED"]),
        typed(&question, &["n"]),
        typed(&question, &["", "7", "1,2", "2"]),
        typed(&question, &["\"7\""]),
        typed(&question, &["0", "ask me tomorrow"]),
    ];
    insta::assert_snapshot!("question", text.join("\n"));
}

#[test]
fn several_questions_come_one_after_the_other() {
    let questions = ask("questions");
    let text = [
        typed(&questions, &["3000", "3, 1"]),
        typed(&questions, &["2", "1 2 3"]),
        typed(&questions, &["1", "1,9", ",", "all of them, 2"]),
        typed(&questions, &["1", "0", ""]),
    ];
    insta::assert_snapshot!("questions", text.join("\n"));
}

#[test]
fn a_question_in_another_shape_is_a_permission_like_others() {
    let odd = Permission { input: json!({ "questions": "Which?" }), ..ask("question") };
    insta::assert_snapshot!("odd", typed(&odd, &["y"]));
}

#[test]
fn every_option_has_a_key_of_its_own() {
    let option =
        |id: &str, label: &str| PermissionOption { option_id: id.to_owned(), label: label.to_owned(), mode: None };
    let options = vec![
        option("no", "not ever"),
        option("always", "always allow"),
        option("always_here", "always allow here"),
        option("ymn", "ymn"),
        option("0f3b6e6c-0b1f-4b43-a35e-7a0bb3c7d111", "for this \u{1b}[1msession"),
    ];
    let many = Permission { options, ..ask("mcp") };
    let text = ["o", "a", "l", "4", "f"].map(|key| typed(&many, &[key]).lines().last().unwrap_or_default().to_owned());
    insta::assert_snapshot!("options", typed(&many, &["x"]) + &text.join("\n"));
}

fn ask(id: &str) -> Permission {
    asked().into_iter().find(|asked| asked.request_id.as_str() == id).expect("it is there")
}

/// Types lines, and returns what a person would see and what comes of it.
fn typed(permission: &Permission, lines: &[&str]) -> String {
    let view = View::default();
    let mut asking = Asking::new(permission.clone());
    let mut text = asking.render(&view);
    for line in lines {
        text += &format!("{line}\n");
        match asking.typed(&view, line) {
            Typed::Again(again, more) => (asking, text) = (again, text + &more),
            Typed::Decided(_, decision) => return format!("{text}=> {}\n", json!(decision)),
        }
    }
    format!("{text}\n=> nothing yet\n")
}
