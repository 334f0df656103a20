//! Worktrees that are archived: what is in the way, what is kept, and that nothing else is left.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use paseo_sdk::machine::worktree::Archived;
use paseo_sdk::{ApiError, Code};
use serde_json::json;

use super::portrait::{Portrait, git, git_dir, git_line, snapshot, try_git};
use super::{Scratch, worktrees};

impl Scratch {
    pub(super) async fn archive(&self, slug: &str, force: bool) -> Result<Archived, ApiError> {
        let place = self.worktrees.find(None, Some(slug), Some(&self.project())).await?;
        self.worktrees.archive(&place, force, false).await
    }

    /// Makes a worktree and returns where it is.
    pub(super) async fn tree(&self, branch: &str) -> PathBuf {
        PathBuf::from(self.create(branch).await.expect("made").worktree_path)
    }

    pub(super) async fn tree_of(&self, name: &str) -> PathBuf {
        PathBuf::from(self.check_out(name).await.expect("made").worktree_path)
    }

    fn everything(&self) -> (BTreeMap<OsString, String>, BTreeMap<OsString, String>) {
        let home = self.root.join("home");
        (snapshot(&self.project()), if home.exists() { snapshot(&home) } else { BTreeMap::new() })
    }

    /// Asks for something that is refused, and checks that nothing has changed by that.
    async fn refuses(&self, slug: &str, force: bool, code: Code, words: &[&str]) -> ApiError {
        let before = self.everything();
        let error = self.archive(slug, force).await.expect_err("it is refused");
        assert_eq!(error.code, code, "{error:?}");
        for word in words {
            assert!(error.message.contains(word), "`{word}` in: {}", error.message);
        }
        assert!(error.hint.is_some(), "{error:?}");
        let (project, home) = self.everything();
        assert_eq!(
            before.0.iter().filter(|(name, as_it_was)| project.get(*name) != Some(*as_it_was)).collect::<Vec<_>>(),
            []
        );
        assert_eq!(project.len(), before.0.len(), "nothing new in the repository");
        assert!(before.1 == home, "nothing has changed in paseo's home");
        error
    }
}

/// Checks that nothing is left of a worktree but what is kept.
#[track_caller]
pub(super) fn assert_gone(scratch: &Scratch, tree: &Path, archived: &Archived) {
    let project = scratch.project();
    assert!(archived.problem.is_none(), "{archived:?}");
    assert!(tree.symlink_metadata().is_err(), "no directory");
    let beside: Vec<_> = std::fs::read_dir(tree.parent().expect("a parent")).into_iter().flatten().flatten().collect();
    assert!(beside.iter().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')), "no mark: {beside:?}");
    let listed = git_line(&project, &["worktree", "list", "--porcelain"]);
    assert!(!listed.contains(&tree.display().to_string()), "not listed: {listed}");
    let slug = &archived.note.slug;
    assert!(!project.join(".git/worktrees").join(slug).exists(), "no registration");
    if let Some(branch) = archived.note.branch.as_ref().filter(|_| archived.branch_removed) {
        let name = format!("refs/heads/{branch}");
        assert!(!try_git(&project, &["show-ref".as_ref(), name.as_ref()]).status.success(), "no branch");
        assert!(!project.join(".git/logs").join(&name).exists(), "no reflog");
        let config = std::fs::read_to_string(project.join(".git/config")).expect("a configuration");
        assert!(
            !config.contains(&format!("\"{branch}\"")) && !config.contains(&format!("onbranch:{branch}")),
            "{config}"
        );
    }
    let checked =
        try_git(&project, &["fsck".as_ref(), "--strict".as_ref(), "--no-dangling".as_ref(), "--no-progress".as_ref()]);
    let said = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    assert_eq!(git_line(&project, &["rev-parse", &archived.reference]), archived.commit);
}

pub(super) fn put(tree: &Path, name: &str, content: &str) {
    let path = tree.join(name);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    std::fs::write(path, content).expect("written");
}

pub(super) fn commit(tree: &Path, name: &str) -> String {
    put(tree, name, name);
    git(tree, &["add", "--all"]);
    git(tree, &["commit", "--quiet", "-m", name]);
    git_line(tree, &["rev-parse", "HEAD"])
}

#[tokio::test]
async fn a_clean_worktree_goes_with_its_branch() {
    let scratch = Scratch::new();
    let before = scratch.traces();
    let tree = scratch.tree("fix/foo").await;
    std::fs::create_dir(tree.join("empty")).expect("made");
    let archived = scratch.archive("fix-foo", false).await.expect("archived");
    assert_gone(&scratch, &tree, &archived);
    assert_eq!((archived.kept_commits, archived.kept_files, archived.branch_removed), (0, 0, true));
    assert_eq!(archived.reference, "refs/paseo/archive/fix-foo");
    let kept = git_line(&scratch.project(), &["rev-parse", &archived.reference]);
    scratch.git(&["update-ref", "-d", &archived.reference, &kept]);
    assert_eq!(scratch.traces(), before, "nothing else is left");
}

#[tokio::test]
async fn what_would_be_lost_is_named_and_stays() {
    let scratch = Scratch::new();
    scratch.write(".gitignore", "*.o\n");
    scratch.write("kept", "kept\n");
    scratch.commit("ignore");
    let tree = scratch.tree("fix/foo").await;
    put(&tree, "x.o", "ignored");
    put(&tree, "README.md", "changed\n");
    put(&tree, "new/deep", "new\n");
    put(&tree, "new\nline", "odd\n");
    put(&tree, "staged", "staged\n");
    git(&tree, &["add", "staged"]);
    git(&tree, &["rm", "--quiet", "kept"]);
    let error = scratch.refuses("fix-foo", false, Code::Refused, &["uncommitted or untracked", "?? new/deep"]).await;
    let details = error.details.expect("details");
    let files = json!([" M README.md", "D  kept", "?? \"new\\nline\"", "?? new/deep", "A  staged"]);
    assert_eq!((&details["files"], &details["count"]), (&files, &json!(5)));
    let archived = scratch.archive("fix-foo", true).await.expect("archived");
    assert_gone(&scratch, &tree, &archived);
    assert_eq!(archived.kept_files, 5);

    // git alone brings back any file.
    let project = scratch.project();
    assert_eq!(git(&project, &["show", "refs/paseo/archive/fix-foo:new/deep"]), b"new\n");
    assert_eq!(git(&project, &["show", "refs/paseo/archive/fix-foo:README.md"]), b"changed\n");
    let changes = git_line(&project, &["diff", "--name-status", "HEAD", "refs/paseo/archive/fix-foo"]);
    assert_eq!(changes, "M\tREADME.md\nD\tkept\nA\t\"new\\nline\"\nA\tnew/deep\nA\tstaged");
    assert!(!try_git(&project, &["show".as_ref(), "refs/paseo/archive/fix-foo:x.o".as_ref()]).status.success());
}

#[tokio::test]
async fn changes_that_the_index_hides_are_found_and_looking_at_them_writes_nothing() {
    let scratch = Scratch::new();
    for flag in ["--assume-unchanged", "--skip-worktree"] {
        let tree = scratch.tree(&flag[2..]).await;
        git(&tree, &["update-index", flag, "README.md"]);
        let slug = tree.file_name().and_then(|name| name.to_str()).expect("a slug");
        put(&tree, "README.md", "changed where nobody looks\n");
        scratch.refuses(slug, false, Code::Refused, &[" M README.md"]).await;
    }
}

#[tokio::test]
async fn some_things_are_in_the_way_even_of_force() {
    let scratch = Scratch::new();
    scratch.write("left/out", "of a sparse checkout\n");
    scratch.commit("a directory");
    let tree = scratch.tree("fix/foo").await;
    put(&tree, "nested/deep/file", "content\n");
    git(&tree.join("nested/deep"), &["init", "--quiet"]);
    for force in [false, true] {
        let error = scratch.refuses("fix-foo", force, Code::Refused, &["nested/deep is a repository of its own"]).await;
        assert!(error.details.expect("details")["repositories"].is_array());
    }
    std::fs::remove_dir_all(tree.join("nested")).expect("removed");

    git(&scratch.project(), &["worktree", "lock", "--reason", "on a stick", &tree.display().to_string()]);
    scratch.refuses("fix-foo", true, Code::Refused, &["somebody locked it (on a stick)"]).await;
    git(&scratch.project(), &["worktree", "unlock", &tree.display().to_string()]);

    git(&tree, &["switch", "--quiet", "--orphan", "unborn"]);
    scratch.refuses("fix-foo", true, Code::Refused, &["has no commit yet"]).await;
    git(&tree, &["switch", "--quiet", "fix/foo"]);

    git(&tree, &["sparse-checkout", "set", "--sparse-index", "docs"]);
    scratch.refuses("fix-foo", true, Code::Refused, &["sparse index"]).await;
    git(&tree, &["sparse-checkout", "reapply", "--no-sparse-index"]);
    scratch.archive("fix-foo", false).await.expect("nothing is in the way any more");
}

#[tokio::test]
async fn an_operation_under_way_is_named() {
    let scratch = Scratch::new();
    scratch.git(&["branch", "other"]);
    let tree = scratch.tree("fix/foo").await;
    commit(&tree, "file");
    scratch.git(&["switch", "--quiet", "other"]);
    scratch.write("file", "other\n");
    scratch.commit("other");
    for (command, words) in [
        (&["merge", "other"][..], "a merge is under way"),
        (&["cherry-pick", "other"][..], "a cherry-pick is under way"),
        (&["rebase", "other"][..], "a rebase is under way"),
        (&["bisect", "start"][..], "a bisect is under way"),
    ] {
        let args: Vec<_> = command.iter().map(std::ffi::OsStr::new).collect();
        drop(try_git(&tree, &args));
        scratch.refuses("fix-foo", false, Code::Refused, &[words]).await;
        match command[0] {
            "bisect" => git(&tree, &["bisect", "reset"]),
            command => git(&tree, &[command, "--abort"]),
        };
    }
}

#[tokio::test]
async fn submodules_go_only_with_what_their_remotes_have() {
    let scratch = Scratch::new();
    let library = scratch.root.join("library");
    std::fs::create_dir(&library).expect("made");
    git(&library, &["init", "--quiet", "--initial-branch=main"]);
    commit(&library, "first");
    let url = library.display().to_string();
    scratch.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &url, "library"]);
    scratch.commit("a submodule");
    let tree = scratch.tree("fix/foo").await;
    git(&tree, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init"]);
    let own = tree.join("library");

    put(&own, "first", "changed");
    scratch.refuses("fix-foo", true, Code::Refused, &["submodule library has changes"]).await;
    git(&own, &["checkout", "--quiet", "first"]);
    put(&own, "untracked", "new");
    scratch.refuses("fix-foo", true, Code::Refused, &["submodule library has changes"]).await;
    std::fs::remove_file(own.join("untracked")).expect("removed");
    commit(&own, "second");
    scratch.refuses("fix-foo", true, Code::Refused, &["submodule library has"]).await;
    git(&tree, &["add", "library"]);
    scratch.refuses("fix-foo", true, Code::Refused, &["submodule library has commits that are on no remote"]).await;
    git(&own, &["push", "--quiet", "origin", "HEAD:refs/heads/second"]);
    git(&tree, &["commit", "--quiet", "-m", "moved on"]);
    let archived = scratch.archive("fix-foo", false).await.expect("its remote has everything");
    assert_gone(&scratch, &tree, &archived);
    assert_eq!(archived.kept_commits, 1);
    scratch.restore("fix-foo").await.expect("restored");
    assert_eq!(git_line(&tree, &["status", "--porcelain"]), "");
}

/// What git is told not to look at would be lost all the same.
#[tokio::test]
async fn work_in_a_submodule_that_git_passes_over_is_seen() {
    let scratch = Scratch::new();
    let library = scratch.root.join("library");
    std::fs::create_dir(&library).expect("made");
    git(&library, &["init", "--quiet", "--initial-branch=main"]);
    commit(&library, "first");
    let url = library.display().to_string();
    scratch.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &url, "library"]);
    scratch.commit("a submodule");
    scratch.git(&["config", "submodule.library.ignore", "all"]);
    let tree = scratch.tree("fix/foo").await;
    git(&tree, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init"]);
    let own = tree.join("library");
    put(&own, "first", "changed");
    scratch.refuses("fix-foo", true, Code::Refused, &["submodule library has changes"]).await;
    git(&own, &["checkout", "--quiet", "first"]);
    git(&own, &["config", "status.showUntrackedFiles", "no"]);
    put(&own, "untracked", "new");
    scratch.refuses("fix-foo", true, Code::Refused, &["submodule library has changes"]).await;
    std::fs::remove_file(own.join("untracked")).expect("removed");
    commit(&own, "second");
    git(&own, &["branch", "kept"]);
    // Its repository is there when its directory is gone.
    git(&tree, &["rm", "--quiet", "--force", "library"]);
    git(&tree, &["commit", "--quiet", "-m", "without it"]);
    scratch.refuses("fix-foo", true, Code::Refused, &["submodule library has commits that are on no remote"]).await;
}

#[tokio::test]
async fn a_worktree_of_somebody_elses_in_an_ignored_directory_stays() {
    let scratch = Scratch::new();
    put(&scratch.project(), ".gitignore", ".theirs/\n");
    scratch.commit("ignored");
    let tree = scratch.tree("fix/foo").await;
    let theirs = tree.join(".theirs/mine");
    git(&tree, &["worktree", "add", "--quiet", "-b", "mine", &theirs.display().to_string()]);
    put(&theirs, "precious", "theirs\n");
    scratch.refuses("fix-foo", true, Code::Refused, &[".theirs/mine is a worktree of its own"]).await;
    assert!(theirs.join("precious").exists());
    git(&tree, &["worktree", "remove", "--force", &theirs.display().to_string()]);
    let archived = scratch.archive("fix-foo", false).await.expect("archived");
    assert_gone(&scratch, &tree, &archived);
}

/// What cannot be deleted, such as what root has written there, keeps neither branch nor name.
#[test]
fn what_cannot_be_deleted_is_in_nobodys_way() {
    use paseo_sdk::machine::Machine as _;
    use paseo_sdk::machine::worktree::{Answer, Fact, Input, Inspection, Note, Output, Repository, Step, Ticket};

    let note: Note = serde_json::from_value(json!({
        "slug": "fix-foo", "branch": "fix/foo", "base": "main", "baseCommit": "1", "headCommit": "1",
        "branchMade": true, "createdAt": "2026-01-01T00:00:00Z", "trusted": true,
    }))
    .expect("a note");
    let archived = Archived {
        note: note.clone(),
        reference: "refs/paseo/archive/fix-foo".to_owned(),
        commit: "2".to_owned(),
        kept_commits: 0,
        kept_files: 0,
        branch_removed: true,
        problem: None,
    };
    let inspection = Inspection {
        note,
        path: "/fix-foo".to_owned(),
        changes: Vec::new(),
        changed: 0,
        operation: None,
        repositories: Vec::new(),
        locked: None,
    };
    let now = paseo_sdk::model::Timestamp(0);
    let mut machine = Repository::new();
    let archive = Input::Archive { ticket: Ticket(1), slug: "fix-foo".to_owned(), force: false, keep_branch: false };
    machine.handle(now, archive).expect("it is taken");
    let mut steps = Vec::new();
    let answer = loop {
        let fact = match machine.poll().expect("it goes on") {
            Output::Answer { answer, .. } => break answer,
            Output::Stop => panic!("nobody stops it"),
            Output::Do(step) => {
                let fact = match &step {
                    Step::Leftovers => Fact::Leftovers(Vec::new()),
                    Step::Inspect(_) => Fact::Inspected(Box::new(inspection.clone())),
                    Step::PutAway(_) => Fact::PutAway(Box::new(archived.clone())),
                    Step::Clear(_) => Fact::Kept("some of it stays"),
                    _ => Fact::Done,
                };
                steps.push(step);
                fact
            }
        };
        machine.handle(now, Input::Fact(fact)).expect("it is expected");
    };
    let Answer::Archived(archived) = answer else { panic!("it is archived: {answer:?}") };
    assert_eq!((archived.branch_removed, archived.problem.as_deref()), (true, Some("some of it stays")));
    assert!(matches!(&steps[steps.len() - 2..], [Step::DropBranch(_), Step::Unmark(_)]), "{steps:?}");
}

#[tokio::test]
async fn directories_that_may_not_be_written_go_too() {
    let scratch = Scratch::new();
    put(&scratch.project(), ".gitignore", "built/\n");
    scratch.commit("ignored");
    let tree = scratch.tree("fix/foo").await;
    put(&tree, "built/deep/out", "built\n");
    for directory in ["built/deep", "built"] {
        let read_only = std::fs::Permissions::from_mode(0o555);
        std::fs::set_permissions(tree.join(directory), read_only).expect("set");
    }
    let archived = scratch.archive("fix-foo", false).await.expect("archived");
    assert_eq!((archived.branch_removed, &archived.problem), (true, &None));
    assert_gone(&scratch, &tree, &archived);
}

#[tokio::test]
async fn a_branch_that_another_tree_rebases_stays() {
    let scratch = Scratch::new();
    let tree = scratch.tree("fix/foo").await;
    put(&tree, "contended", "mine\n");
    git(&tree, &["add", "contended"]);
    git(&tree, &["commit", "--quiet", "-m", "mine"]);
    git(&tree, &["switch", "--quiet", "--detach"]);
    put(&scratch.project(), "contended", "theirs\n");
    scratch.commit("theirs");
    let other = scratch.root.join("other");
    scratch.git(&["worktree", "add", "--quiet", &other.display().to_string(), "fix/foo"]);
    let stopped = try_git(&other, &["rebase".as_ref(), "main".as_ref()]);
    assert!(!stopped.status.success(), "it stops at a conflict");
    let archived = scratch.archive("fix-foo", false).await.expect("archived");
    assert!(!archived.branch_removed);
    put(&other, "contended", "both\n");
    git(&other, &["add", "contended"]);
    git(&other, &["-c", "core.editor=true", "rebase", "--continue"]);
    assert_eq!(git_line(&other, &["symbolic-ref", "--short", "HEAD"]), "fix/foo");
}

#[tokio::test]
async fn what_paseo_did_not_make_or_cannot_find_where_it_made_it_stays() {
    let scratch = Scratch::new();
    let project = scratch.project();
    let tree = scratch.tree("fix/foo").await;
    std::fs::create_dir(tree.join("below")).expect("made");
    let foreign = scratch.root.join("foreign");
    git(&project, &["worktree", "add", "--quiet", "-b", "theirs", &foreign.display().to_string()]);
    let theirs = tree.with_file_name("theirs");
    git(&project, &["worktree", "add", "--quiet", "-b", "theirs-2", &theirs.display().to_string()]);
    for (path, words) in [
        (&project, "main checkout"),
        (&foreign, "not a worktree that paseo made"),
        (&tree.join("below"), "not a worktree that paseo made"),
    ] {
        let path = path.display().to_string();
        let error = scratch.worktrees.find(Some(&path), None, None).await.expect_err("it is none of paseo's");
        assert_eq!(error.code, Code::Refused);
        assert!(error.message.contains(words), "{}", error.message);
    }
    scratch.refuses("theirs", true, Code::Refused, &["paseo did not make"]).await;
    let error = scratch.refuses("nope", true, Code::NotFound, &["there is no worktree `nope`"]).await;
    assert_eq!(error.hint.as_deref(), Some("there are: fix-foo"));
    assert_eq!(error.details.expect("details")["worktrees"], json!(["fix-foo"]));

    let moved = scratch.root.join("moved");
    git(&project, &["worktree", "move", &tree.display().to_string(), &moved.display().to_string()]);
    scratch.refuses("fix-foo", true, Code::Refused, &["it was moved to"]).await;
    let error = scratch.worktrees.find(Some(&moved.display().to_string()), None, None).await.expect_err("it was moved");
    assert_eq!(error.code, Code::Refused);
    git(&project, &["worktree", "move", &moved.display().to_string(), &tree.display().to_string()]);

    std::fs::rename(&tree, &moved).expect("moved");
    scratch.refuses("fix-foo", true, Code::Refused, &["is gone"]).await;
    std::os::unix::fs::symlink(&moved, &tree).expect("linked");
    scratch.refuses("fix-foo", true, Code::Refused, &["is not the directory that paseo made"]).await;
    std::fs::remove_file(&tree).expect("removed");
    put(&tree, "precious", "work");
    scratch.refuses("fix-foo", true, Code::Refused, &["is not the directory that paseo made"]).await;
    std::fs::remove_dir_all(&tree).expect("removed");
    let copied = std::process::Command::new("cp").arg("-a").arg(&theirs).arg(&tree).status();
    assert!(copied.expect("cp can be run").success());
    scratch.refuses("fix-foo", true, Code::Refused, &["is not the directory that paseo made"]).await;
    std::fs::remove_dir_all(&tree).expect("removed");
    std::fs::rename(&moved, &tree).expect("moved back");
    let archived = scratch.archive("fix-foo", false).await.expect("it is where it was made");
    assert_gone(&scratch, &tree, &archived);
    assert!(theirs.is_dir() && foreign.is_dir());
}

#[tokio::test]
async fn a_worktree_whose_note_is_damaged_stays_until_that_is_mended() {
    let scratch = Scratch::new();
    let tree = scratch.tree("fix/foo").await;
    let other = scratch.tree("fix/other").await;
    put(&tree, "precious", "work");
    let note = git_dir(&tree).join("paseo.json");
    let as_it_was = std::fs::read(&note).expect("a note");
    for damaged in [b"{".as_slice(), b"", b"{}", &as_it_was[..as_it_was.len() / 2], b"\xff"] {
        std::fs::write(&note, damaged).expect("damaged");
        let error = scratch.refuses("fix-foo", true, Code::Refused, &["`fix-foo` stays", "paseo.json"]).await;
        assert!(error.hint.is_some_and(|hint| hint.contains("mend that file")));
        assert_eq!(std::fs::read(&note).expect("a note"), damaged);
        let place = scratch.worktrees.find(None, Some("fix-foo"), Some(&scratch.project())).await.expect("found");
        let error = scratch.worktrees.trust(&place, true).await.expect_err("nobody knows what it is");
        assert!(error.code == Code::Refused && error.message.contains("paseo.json"), "{error:?}");
        assert_eq!(scratch.restore("fix-foo").await.expect_err("it is not archived").code, Code::NotFound);
    }
    let archived = scratch.archive("fix-other", false).await.expect("it is in nobody else's way");
    assert_gone(&scratch, &other, &archived);
    std::fs::write(&note, as_it_was).expect("mended");
    let archived = scratch.archive("fix-foo", true).await.expect("archived");
    assert_gone(&scratch, &tree, &archived);
}

#[tokio::test]
async fn commits_that_nobody_else_has_are_counted_and_kept() {
    let scratch = Scratch::new();
    let project = scratch.project();
    let bare = scratch.root.join("bare.git").display().to_string();
    git(&scratch.root, &["init", "--quiet", "--bare", &bare]);
    scratch.git(&["remote", "add", "origin", &bare]);
    for (branch, kept) in [("merged", 0), ("pushed", 0), ("tagged", 0), ("alone", 2), ("detached", 1)] {
        let tree = scratch.tree(branch).await;
        let tip = match branch {
            "detached" => {
                git(&tree, &["checkout", "--quiet", "--detach"]);
                commit(&tree, "off any branch")
            }
            _ => {
                commit(&tree, &format!("{branch} one"));
                commit(&tree, &format!("{branch} two"))
            }
        };
        match branch {
            "merged" => drop(scratch.git(&["merge", "--quiet", "--no-edit", "merged"])),
            "pushed" => drop(git(&tree, &["push", "--quiet", "--set-upstream", "origin", "pushed"])),
            "tagged" => drop(git(&tree, &["tag", "v1"])),
            _ => {}
        }
        let archived = scratch.archive(branch, false).await.expect("archived");
        assert_gone(&scratch, &tree, &archived);
        assert_eq!(archived.kept_commits, kept, "{branch}");
        git(&project, &["gc", "--quiet", "--prune=now"]);
        assert_eq!(git_line(&project, &["rev-parse", &format!("refs/paseo/archive/{branch}^1")]), tip);
        let restored = scratch.restore(branch).await.expect("restored");
        assert_eq!(git_line(Path::new(&restored.worktree_path), &["rev-parse", "HEAD"]), tip);
    }
}

#[tokio::test]
async fn commits_that_only_a_reflog_knows_survive() {
    let scratch = Scratch::new();
    let tree = scratch.tree("fix/foo").await;
    commit(&tree, "thrown away one");
    let thrown_away = commit(&tree, "thrown away two");
    git(&tree, &["reset", "--quiet", "--hard", "HEAD~2"]);
    git(&tree, &["commit", "--quiet", "--allow-empty", "-m", "first try"]);
    let amended = git_line(&tree, &["rev-parse", "HEAD"]);
    git(&tree, &["commit", "--quiet", "--amend", "--allow-empty", "-m", "second try"]);
    git(&tree, &["switch", "--quiet", "-c", "side"]);
    let side = commit(&tree, "of a branch that is removed");
    git(&tree, &["switch", "--quiet", "fix/foo"]);
    git(&tree, &["branch", "--quiet", "-D", "side"]);
    let before = Portrait::of(&tree);
    let archived = scratch.archive("fix-foo", false).await.expect("archived");
    assert_eq!(archived.kept_commits, 1);
    git(&scratch.project(), &["gc", "--quiet", "--prune=now"]);
    for commit in [&thrown_away, &amended, &side] {
        git(&scratch.project(), &["cat-file", "-e", commit]);
    }
    scratch.restore("fix-foo").await.expect("restored");
    before.assert_same(&Portrait::of(&tree), "after it came back");
}

#[tokio::test]
async fn a_branch_that_is_not_paseos_or_is_in_use_stays() {
    let scratch = Scratch::new();
    let project = scratch.project();
    let branches = || git_line(&project, &["branch", "--format=%(refname:short)"]);

    let tree = scratch.tree("kept").await;
    let place = scratch.worktrees.find(None, Some("kept"), Some(&project)).await.expect("found");
    let archived = scratch.worktrees.archive(&place, false, true).await.expect("archived");
    assert_gone(&scratch, &tree, &archived);
    assert!(!archived.branch_removed && branches().contains("kept"), "it was to be kept");

    scratch.git(&["branch", "theirs"]);
    let tree = scratch.tree_of("theirs").await;
    let archived = scratch.archive("theirs", false).await.expect("archived");
    assert_gone(&scratch, &tree, &archived);
    assert!(!archived.branch_removed && branches().contains("theirs"), "somebody made it");

    let tree = scratch.tree("switched").await;
    git(&tree, &["switch", "--quiet", "-c", "elsewhere"]);
    let archived = scratch.archive("switched", false).await.expect("archived");
    assert_gone(&scratch, &tree, &archived);
    assert!(archived.branch_removed && branches().contains("elsewhere"), "the one that was made for it goes");
    scratch.restore("switched").await.expect("restored");
    assert_eq!(git_line(&tree, &["symbolic-ref", "--short", "HEAD"]), "elsewhere");
    assert!(branches().contains("switched"));

    let tree = scratch.tree("borrowed").await;
    git(&tree, &["checkout", "--quiet", "--detach"]);
    scratch.git(&["switch", "--quiet", "borrowed"]);
    let archived = scratch.archive("borrowed", false).await.expect("archived");
    assert_gone(&scratch, &tree, &archived);
    assert!(!archived.branch_removed && branches().contains("borrowed"), "it is checked out elsewhere");
}

#[tokio::test]
async fn while_a_tree_is_out_of_sight_git_forgets_nothing_of_it() {
    let scratch = Scratch::new();
    let tree = scratch.tree("fix/foo").await;
    put(&tree, "new", "new\n");
    // It writes reflogs anew.
    git(&scratch.project(), &["gc", "--quiet"]);
    let before = Portrait::of(&tree);
    // As a daemon leaves it that dies before anything is put away.
    let note: serde_json::Value =
        serde_json::from_slice(&std::fs::read(git_dir(&tree).join("paseo.json")).expect("a note")).expect("JSON");
    let mut mark = note;
    mark["going"] = json!({ "keepBranch": false, "putAway": false });
    std::fs::write(tree.with_file_name(".making-fix-foo.json"), mark.to_string()).expect("marked");
    std::fs::write(git_dir(&tree).join("locked"), "paseo is archiving it").expect("locked");
    let away = tree.with_file_name(".archiving-fix-foo");
    std::fs::rename(&tree, &away).expect("moved away");
    git(&scratch.project(), &["worktree", "prune", "--expire=now"]);
    git(&scratch.project(), &["gc", "--quiet", "--prune=now"]);
    let next = worktrees(&scratch.root);
    let listed = next.list(Some(&scratch.project()), false).await.expect("listed");
    assert!(listed.is_empty(), "it is archived: {listed:?}");
    next.restore("fix-foo", &scratch.project(), true).await.expect("restored");
    before.assert_same(&Portrait::of(&tree), "after it came back");
}

#[tokio::test]
async fn what_cannot_be_put_away_is_back_in_its_place() {
    let scratch = Scratch::new();
    scratch.git(&["config", "filter.broken.clean", "false"]);
    scratch.git(&["config", "filter.broken.required", "true"]);
    let tree = scratch.tree("fix/foo").await;
    put(&tree, "file.x", "work\n");
    put(&tree, ".gitattributes", "*.x filter=broken\n");
    let before = Portrait::of(&tree);
    let error = scratch.archive("fix-foo", true).await.expect_err("the filter fails");
    assert!(error.message.contains("fix-foo"), "{}", error.message);
    before.assert_same(&Portrait::of(&tree), "after it failed");
    std::fs::remove_file(tree.join(".gitattributes")).expect("removed");
    // git takes this for its own directory.
    put(&tree, "git~1", "work\n");
    let before = Portrait::of(&tree);
    let error = scratch.archive("fix-foo", true).await.expect_err("its name cannot be kept");
    assert!(error.message.contains("git~1"), "{}", error.message);
    before.assert_same(&Portrait::of(&tree), "after it failed");
    assert!(!git_dir(&tree).join("locked").exists());
    std::fs::remove_file(tree.join("git~1")).expect("removed");
    if !rustix::process::geteuid().is_root() {
        std::fs::set_permissions(tree.join("file.x"), std::fs::Permissions::from_mode(0o000)).expect("set");
        let before = scratch.traces();
        scratch.archive("fix-foo", true).await.expect_err("it cannot be read");
        assert_eq!(scratch.traces(), before);
        std::fs::set_permissions(tree.join("file.x"), std::fs::Permissions::from_mode(0o600)).expect("set");
    }
    // The objects cannot be written.
    let objects = scratch.project().join(".git/objects");
    let away = scratch.project().join(".git/objects-away");
    std::fs::rename(&objects, &away).expect("moved");
    std::fs::write(&objects, "in the way").expect("written");
    scratch.archive("fix-foo", true).await.expect_err("nothing can be written");
    std::fs::remove_file(&objects).expect("removed");
    std::fs::rename(&away, &objects).expect("moved back");
    let archived = scratch.archive("fix-foo", true).await.expect("archived");
    assert_gone(&scratch, &tree, &archived);
}
