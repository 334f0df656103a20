//! The head of a new worktree: on its branch, with a log that begins there, and with the settings of its branch.

use std::path::Path;

use super::Scratch;

#[tokio::test]
async fn the_head_and_its_log_are_as_git_makes_them() {
    let scratch = Scratch::new();
    let theirs = scratch.root.join("theirs");
    scratch.git(&["worktree", "add", "--quiet", "-b", "theirs", theirs.to_str().expect("UTF-8")]);
    let ours = scratch.create("ours").await.expect("made");
    let log = |tree: &Path| {
        let path = scratch.git_in(tree, &["rev-parse", "--git-path", "logs/HEAD"]);
        let text = std::fs::read_to_string(tree.join(path)).expect("a log");
        let ids = |line: &str| line.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
        text.lines().map(ids).collect::<Vec<_>>()
    };
    assert_eq!(log(Path::new(&ours.worktree_path))[..1], log(&theirs)[..1], "from nothing to the commit");
    assert_eq!(log(Path::new(&ours.worktree_path)).len(), 1, "and no further");
    scratch.assert_sound(&ours);
}

#[tokio::test]
async fn files_are_checked_out_with_what_is_set_for_their_branch_only() {
    let scratch = Scratch::new();
    scratch.write(".gitattributes", "* text=auto\n");
    scratch.commit("attributes");
    std::fs::write(scratch.root.join("lines.config"), "[core]\n\tautocrlf = true\n").expect("written");
    let path = scratch.root.join("lines.config");
    for pattern in ["windows/**", "windows", "dos/"] {
        scratch.git(&["config", &format!("includeIf.onbranch:{pattern}.path"), path.to_str().expect("UTF-8")]);
    }
    let cases = [("dos/one", "hello\r\n"), ("unix", "hello\n"), ("windows", "hello\r\n")];
    for (branch, text) in cases {
        let made = scratch.create(branch).await.expect("made");
        let file = std::fs::read_to_string(Path::new(&made.worktree_path).join("README.md")).expect("checked out");
        assert_eq!(file, text, "{branch}");
        scratch.assert_sound(&made);
    }
}
