//! Diffs as people see them.

use paseo_cli::diff::Diff;
use proptest::prelude::*;

#[test]
fn lines_have_their_numbers_and_hunks_are_apart() {
    let one = "--- a/a.rs\t2024-01-01\n+++ b/a.rs\n@@ -8,3 +8,4 @@ fn main\n one\n-two\n+2\n+2.5\n three\n@@ -99 +100 @@\n--- sql\n+++ more\n\\ No newline at end of file\n";
    insta::assert_snapshot!("hunks", shown(&Diff::parse(one), 40));
}

#[test]
fn several_files_are_named() {
    let two = "diff --git a/a b/a\nindex 1..2 100644\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+2\n\
               diff --git a/b b/b\ndeleted file mode 100644\n--- a/b\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-x\n-y\n";
    insta::assert_snapshot!("files", shown(&Diff::parse(two), 40));
}

#[test]
fn what_is_too_much_is_counted() {
    let long: String = (1..=4).map(|line| format!("+line {line}\n")).collect();
    let whole = Diff::parse(&format!("@@ -0,0 +1,4 @@\n{long}"));
    let cut = Diff::parse(&format!("@@ -0,0 +1,99 @@\n{long}"));
    insta::assert_snapshot!("long", format!("{}----\n{}----\n{}", shown(&whole, 2), shown(&cut, 2), shown(&cut, 4)));
}

#[test]
fn what_is_no_unified_diff_is_shown_all_the_same() {
    insta::assert_snapshot!(
        "odd",
        shown(&Diff::parse("Binary files differ\n+one\n-é\n@@ odd @@\n\u{1b}[2J\ttab\n"), 40)
    );
}

#[test]
fn texts_are_compared_by_what_they_begin_and_end_with() {
    let check = |old: &str, new: &str| shown(&Diff::between(old, new), 40);
    let text = [
        check("1\n2\n3\n4\n5\n6\n7\n", "1\n2\n3\n4!\n4?\n5\n6\n7\n"),
        check("", "new\nfile\n"),
        check("a\na\n", "a\na\na\n"),
        check("same", "same"),
        check("end\r\n", "end\n"),
    ];
    insta::assert_snapshot!("between", text.join("----\n"));
}

proptest! {
    #[test]
    fn whatever_it_is_given_it_shows_lines_that_are_clean(text in "([-+ @\\\\]|@@ -[0-9]{1,2},[0-9] \\+[0-9],[0-9] @@|---|\\PC|\n){0,60}", most in 0usize..9) {
        let diff = Diff::parse(&text);
        let lines = diff.shown(most, 20);
        prop_assert!(lines.len() <= most + 1);
        prop_assert!(lines.iter().all(|(_, line)| !line.chars().any(char::is_control)));
    }

    #[test]
    fn a_comparison_takes_the_old_lines_away_and_adds_the_new(old in "([ab]\r?\n){0,6}a?", new in "([ab]\r?\n){0,6}a?") {
        let diff = Diff::between(&old, &new);
        prop_assert_eq!(diff.count() == "no lines changed", old == new);
    }
}

fn shown(diff: &Diff, most: usize) -> String {
    let lines = diff.shown(most, 80).into_iter().map(|(color, line)| format!("{:6}|{line}\n", format!("{color:?}")));
    format!("{}\n{}", diff.count(), lines.collect::<String>())
}
