//! What a terminal is given of what agents print.

use paseo_cli::render::{View, ago, short, span, time};
use paseo_cli::screen::Filter;
use paseo_cli::table::{clean, fit, width};
use paseo_sdk::model::Timestamp;
use proptest::prelude::*;

#[test]
fn colors_go_through_and_commands_to_the_terminal_do_not() {
    let check = |text: &str, expected: &str| {
        assert_eq!(Filter::new(true).pass(text), expected, "{text:?}");
    };
    check("plain\ttext\r\n", "plain\ttext\r\n");
    check("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m");
    check("\x1b[38:5:200mpink", "\x1b[38:5:200mpink");
    check("\x1b[2J\x1b[Hcleared", "cleared");
    check("\x1b]0;a title\x07text", "text");
    check("\x1b]52;c;c2VjcmV0\x1b\\text", "text");
    check("\x1bPq sixel \x1b\\text", "text");
    check("\x1b(Btext\x1bc!", "text!");
    check("\u{9b}2Jtext\u{9d}", "text");
    check("\x1b[?1049htext", "text");
    check("bell\x07, backspace\x08, null\0", "bell, backspace, null");
    check("caf\u{fffd}é 日本", "caf\u{fffd}é 日本");
}

#[test]
fn a_command_without_an_end_does_not_swallow_the_output() {
    let shown = Filter::new(true).pass(&format!("\x1b]0;{}after", "x".repeat(5000)));
    assert!(shown.ends_with("after"), "{shown}");
}

#[test]
fn colors_that_are_left_on_are_taken_back() {
    let mut filter = Filter::new(true);
    filter.pass("\x1b[31mred");
    assert_eq!((filter.reset(), filter.reset()), ("\x1b[0m", ""));
    filter.pass("\x1b[31mred\x1b[m");
    assert_eq!(filter.reset(), "");
    assert_eq!(Filter::new(false).pass("\x1b[31mred"), "red");
}

proptest! {
    #[test]
    fn pieces_are_filtered_as_their_whole_is(text in "[a-c\u{1b}\\[\\]m0-9;\u{7}\\\\\n\u{9b}H]{0,60}", at in 0usize..60) {
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        let mut filter = Filter::new(true);
        let pieces = filter.pass(&text[..at]) + &filter.pass(&text[at..]);
        prop_assert_eq!(pieces, Filter::new(true).pass(&text));
    }

    #[test]
    fn text_is_never_wider_than_it_may_be(text in "\\PC{0,40}", available in 1usize..30) {
        prop_assert!(width(&fit(&text, available)) <= available);
    }

    #[test]
    fn clean_text_stays_on_its_line_and_holds_no_controls(text in any::<String>()) {
        prop_assert!(!clean(&text).chars().any(char::is_control));
    }
}

#[test]
fn text_that_reads_backwards_is_shown_as_what_it_is() {
    assert_eq!(clean("rm \u{202e}fdp.exe"), "rm \\u{202e}fdp.exe");
    assert_eq!(clean("a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
}

#[test]
fn times_are_told_as_people_tell_them() {
    let now = Timestamp(1_000_000_000_000);
    let told = |milliseconds: i64| ago(now, now.plus(-milliseconds));
    assert_eq!(told(0), "just now");
    assert_eq!(told(-60_000), "just now");
    assert_eq!(told(59_999), "59s ago");
    assert_eq!(told(60_000), "1m ago");
    assert_eq!(told(3 * 3_600_000), "3h ago");
    assert_eq!(told(200 * 86_400_000), "200d ago");
    assert_eq!(span(90_000), "1m 30s");
    assert_eq!(span(-1), "0s");
    assert_eq!(span(25 * 3_600_000), "1d 1h");
    assert_eq!(time(now), "2001-09-09 01:46:40Z");
}

#[test]
fn ids_that_paseo_made_are_shortened_and_others_are_not() {
    let shown = |id: &str| short(&id.parse().expect("an id"));
    assert_eq!(shown("0b8ee9b4-3c26-4b1d-9f3c-1c0c7ff3d6a1"), "0b8ee9b4");
    assert_eq!(shown("my-agent"), "my-agent");
}

#[test]
fn only_the_home_directory_itself_is_shown_as_a_tilde() {
    let view = View { home: Some("/home/ann".to_owned()), ..View::default() };
    assert_eq!(view.path("/home/ann/app"), "~/app");
    assert_eq!(view.path("/home/ann"), "~");
    assert_eq!(view.path("/home/anna"), "/home/anna");
}
