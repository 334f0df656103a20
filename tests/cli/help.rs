//! Help: every command says what it does and ends with an example.

#[test]
fn every_command_says_what_it_does_and_ends_with_an_example() {
    let mut text = String::new();
    let mut tree = paseo_cli::tree().term_width(100);
    tree.build();
    let top: Vec<_> = tree.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for command in tree.get_subcommands_mut() {
        pages(command, &top, &mut text);
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn the_overview_shows_the_whole_tree() {
    insta::assert_snapshot!("overview", paseo_cli::tree().render_help());
}

fn pages(command: &mut paseo_cli::clap::Command, top: &[String], text: &mut String) {
    let help = command.render_long_help().to_string();
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    if command.is_hide_set() {
        return;
    }
    assert!(command.get_about().is_some(), "{name} has no description");
    assert!(help.trim_end().lines().rev().take_while(|line| line.starts_with("  ")).count() >= 1, "{name}: {help}");
    assert!(help.contains("\nExample:\n  "), "{name} has no example");
    text.push_str(&format!("==== {name}\n{help}\n"));
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let said = argument.get_help().map(ToString::to_string).unwrap_or_default();
        assert!(!said.is_empty(), "{name}: {} has no help", argument.get_id());
    }
    let agent = command.get_name() == "agent";
    for command in command.get_subcommands_mut() {
        // What the group `agent` has in common with the top is there once.
        if !(agent && top.iter().any(|name| name == command.get_name())) {
            pages(command, top, text);
        }
    }
}
