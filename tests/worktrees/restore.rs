//! Archived worktrees that come back: which one, as what, and what is in the way.

use std::path::Path;

use paseo_sdk::catalogue::CreateWorktree;
use paseo_sdk::model::Worktree;
use paseo_sdk::{ApiError, Code};
use serde_json::json;

use super::archive::{assert_gone, commit, put};
use super::portrait::{Portrait, git, git_dir, git_line};
use super::{Scratch, refused};

impl Scratch {
    pub(super) async fn restore(&self, slug: &str) -> Result<Worktree, ApiError> {
        self.worktrees.restore(slug, &self.project(), true).await
    }
}

#[tokio::test]
async fn what_was_archived_under_one_name_comes_back_newest_first() {
    let scratch = Scratch::new();
    let mut portraits = Vec::new();
    for number in 0..3 {
        let tree = scratch.tree("fix/foo").await;
        commit(&tree, &format!("committed {number}"));
        put(&tree, "untracked", &format!("{number}\n"));
        portraits.push(Portrait::of(&tree));
        let archived = scratch.archive("fix-foo", true).await.expect("archived");
        assert_gone(&scratch, &tree, &archived);
        assert_eq!((archived.kept_commits, archived.kept_files), (1, 1));
        git(&scratch.project(), &["gc", "--quiet", "--prune=now"]);
    }
    for (left, before) in portraits.into_iter().enumerate().rev() {
        let restored = scratch.restore("fix-foo").await.expect("restored");
        let tree = Path::new(&restored.worktree_path);
        before.assert_same(&Portrait::of(tree), "after it came back");
        if left > 0 {
            refused(scratch.restore("fix-foo").await, Code::Conflict, "is checked out in");
        }
        // Out of the way of the one before; what it was is of no use any more.
        git(tree, &["switch", "--quiet", "--detach"]);
        git(&scratch.project(), &["worktree", "remove", "--force", &restored.worktree_path]);
        git(&scratch.project(), &["branch", "-D", "fix/foo"]);
    }
    let error = refused(scratch.restore("fix-foo").await, Code::NotFound, "was archived");
    assert_eq!(error.details.expect("details")["archived"], json!([]));
}

#[tokio::test]
async fn an_archive_of_what_came_back_takes_the_place_of_the_one_that_it_came_from() {
    let scratch = Scratch::new();
    let first = scratch.tree("fix/foo").await;
    put(&first, "untracked", "the first\n");
    scratch.archive("fix-foo", true).await.expect("archived");
    let tree = scratch.tree("fix/foo").await;
    for round in 0..3 {
        put(&tree, "untracked", &format!("the second, {round}\n"));
        let archived = scratch.archive("fix-foo", true).await.expect("archived");
        assert_gone(&scratch, &tree, &archived);
        scratch.restore("fix-foo").await.expect("restored");
    }
    assert_eq!(std::fs::read_to_string(tree.join("untracked")).expect("read"), "the second, 2\n");
    git(&scratch.project(), &["worktree", "remove", "--force", &tree.display().to_string()]);
    git(&scratch.project(), &["branch", "-D", "fix/foo"]);
    scratch.restore("fix-foo").await.expect("restored");
    assert_eq!(std::fs::read_to_string(tree.join("untracked")).expect("read"), "the first\n");
}

#[tokio::test]
async fn what_is_in_the_way_is_named_and_nothing_is_lost() {
    let scratch = Scratch::new();
    let project = scratch.project();
    let tree = scratch.tree("fix/foo").await;
    let tip = commit(&tree, "work");
    let before = Portrait::of(&tree);
    scratch.archive("fix-foo", false).await.expect("archived");
    let traces = scratch.traces();

    scratch.git(&["branch", "fix/foo"]);
    let error = refused(scratch.restore("fix-foo").await, Code::Conflict, "is there and at another commit");
    assert_eq!(error.details.expect("details")["branch"], "fix/foo");
    scratch.git(&["branch", "-D", "fix/foo"]);
    scratch.git(&["branch", "fix"]);
    refused(scratch.restore("fix-foo").await, Code::Conflict, "`fix` leaves no room");
    scratch.git(&["branch", "-D", "fix"]);
    scratch.git(&["switch", "--quiet", "-c", "fix/foo", &tip]);
    refused(scratch.restore("fix-foo").await, Code::Conflict, "is checked out in");
    scratch.git(&["switch", "--quiet", "main"]);
    scratch.git(&["branch", "-D", "fix/foo"]);
    assert_eq!(scratch.traces(), traces);

    scratch.restore("fix-foo").await.expect("restored");
    before.assert_same(&Portrait::of(&tree), "after it came back");
    assert!(project.join(".git/worktrees/fix-foo").is_dir());
}

/// Two branches may have the same directory name, one after the other, and somebody may put something into its place.
#[tokio::test]
async fn what_comes_back_has_another_name_where_its_own_is_taken() {
    let scratch = Scratch::new();
    let older = scratch.tree("fix/foo").await;
    put(&older, "untracked", "older\n");
    scratch.archive("fix-foo", true).await.expect("archived");
    let newer = scratch.tree("fix-foo").await;
    assert_eq!(newer, older);
    put(&newer, "untracked", "newer\n");
    scratch.archive("fix-foo", true).await.expect("archived");
    put(&older, "precious", "in its place\n");
    for (slug, branch, what) in [("fix-foo-2", "fix-foo", "newer\n"), ("fix-foo-3", "fix/foo", "older\n")] {
        let restored = scratch.restore("fix-foo").await.expect("restored");
        assert_eq!((restored.worktree_slug.as_str(), restored.branch_name.as_deref()), (slug, Some(branch)));
        let tree = Path::new(&restored.worktree_path);
        assert_eq!(std::fs::read_to_string(tree.join("untracked")).expect("read"), what);
        assert_eq!(git_line(tree, &["symbolic-ref", "--short", "HEAD"]), branch);
    }
    assert_eq!(std::fs::read_to_string(older.join("precious")).expect("read"), "in its place\n");
    refused(scratch.restore("fix-foo").await, Code::NotFound, "was archived");
    // Each goes again under the name that it has now.
    scratch.archive("fix-foo-3", true).await.expect("archived");
    let restored = scratch.restore("fix-foo-3").await.expect("restored");
    assert_eq!(restored.branch_name.as_deref(), Some("fix/foo"));
}

#[tokio::test]
async fn what_comes_back_has_the_port_that_it_had() {
    let scratch = Scratch::new();
    let port = |tree: &Path| {
        let note = std::fs::read(git_dir(tree).join("paseo.json")).expect("a note");
        serde_json::from_slice::<serde_json::Value>(&note).expect("JSON")["port"].clone()
    };
    let lower = scratch.tree("lower").await;
    let tree = scratch.tree("fix/foo").await;
    let had = port(&tree);
    scratch.archive("fix-foo", false).await.expect("archived");
    scratch.archive("lower", false).await.expect("archived");
    assert!(!lower.exists());
    scratch.restore("fix-foo").await.expect("restored");
    assert_eq!(port(&tree), had);
    // Where another one has it by now, it gets another one.
    scratch.archive("fix-foo", false).await.expect("archived");
    let mut others = Vec::new();
    loop {
        let other = scratch.tree(&format!("other-{}", others.len())).await;
        others.push(port(&other));
        if others.last() == Some(&had) {
            break;
        }
    }
    scratch.restore("fix-foo").await.expect("restored");
    assert!(!others.contains(&port(&tree)), "{}", port(&tree));
}

#[tokio::test]
async fn a_branch_that_stayed_is_the_users() {
    let scratch = Scratch::new();
    scratch.git(&["branch", "theirs"]);
    let tree = scratch.tree_of("theirs").await;
    let tip = commit(&tree, "work");
    scratch.archive("theirs", false).await.expect("archived");
    scratch.git(&["branch", "-D", "theirs"]);
    git(&scratch.project(), &["gc", "--quiet", "--prune=now"]);
    scratch.restore("theirs").await.expect("a branch that is gone is made again");
    assert_eq!(git_line(&tree, &["rev-parse", "refs/heads/theirs"]), tip);

    git(&tree, &["switch", "--quiet", "-c", "side"]);
    scratch.archive("theirs", false).await.expect("archived");
    scratch.git(&["branch", "-D", "side"]);
    let error =
        refused(scratch.restore("theirs").await, Code::Conflict, "branch `side`, which it had checked out, is gone");
    assert_eq!(error.details.expect("details")["commit"], tip);
    scratch.git(&["branch", "side", &tip]);
    scratch.restore("theirs").await.expect("restored");
    assert_eq!(git_line(&tree, &["symbolic-ref", "--short", "HEAD"]), "side");
}

#[tokio::test]
async fn what_paseo_knew_comes_back_with_it() {
    let scratch = Scratch::new();
    scratch.git(&["branch", "develop"]);
    let head = scratch.git(&["rev-parse", "HEAD"]);
    scratch.git(&["update-ref", "refs/pull/7/head", &head]);
    let bare = scratch.root.join("bare.git").display().to_string();
    scratch.git(&["clone", "--quiet", "--mirror", ".", &bare]);
    scratch.git(&["remote", "add", "origin", &bare]);
    let request = CreateWorktree { github_pr_number: Some(7), ..CreateWorktree::default() };
    let of_a_pull_request = scratch.worktrees.create(&request, &scratch.project()).await.expect("made");
    assert!(!of_a_pull_request.trusted);
    let plain = scratch.create_from("fix/foo", Some("develop")).await.expect("made");
    for made in [of_a_pull_request, plain] {
        let tree = Path::new(&made.worktree_path);
        let note = |tree: &Path| -> serde_json::Value {
            let bytes = std::fs::read(git_dir(tree).join("paseo.json")).expect("a note");
            serde_json::from_slice(&bytes).expect("JSON")
        };
        let before = (Portrait::of(tree), note(tree));
        let archived = scratch.archive(&made.worktree_slug, false).await.expect("archived");
        assert_gone(&scratch, tree, &archived);
        let restored = scratch.restore(&made.worktree_slug).await.expect("restored");
        before.0.assert_same(&Portrait::of(tree), "after it came back");
        let after = note(tree);
        for key in
            ["slug", "branch", "base", "baseRef", "baseCommit", "pullRequest", "createdAt", "trusted", "upstream"]
        {
            assert_eq!(after[key], before.1[key], "{key}");
        }
        assert_eq!(restored, Worktree { created: true, ..made.clone() });
        scratch.assert_sound(&restored);
        assert!(scratch.archive(&made.worktree_slug, false).await.expect("again").branch_removed);
    }
}

#[tokio::test]
async fn a_repository_that_was_moved_still_has_its_archives() {
    let scratch = Scratch::new();
    let tree = scratch.tree("fix/foo").await;
    put(&tree, "untracked", "work\n");
    scratch.archive("fix-foo", true).await.expect("archived");
    let moved = scratch.root.join("moved");
    std::fs::rename(scratch.project(), &moved).expect("moved");
    let restored = scratch.worktrees.restore("fix-foo", &moved, true).await.expect("restored");
    assert_ne!(Path::new(&restored.worktree_path), tree);
    assert_eq!(std::fs::read_to_string(Path::new(&restored.worktree_path).join("untracked")).expect("read"), "work\n");
    assert_eq!(git_line(&moved, &["worktree", "list", "--porcelain"]).matches("\nbranch ").count(), 2);
    assert_eq!(git_line(Path::new(&restored.worktree_path), &["status", "--porcelain"]), "?? untracked");
}
