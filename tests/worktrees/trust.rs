//! What comes from a pull request that nobody trusts is not trusted either, under whatever name it comes.

use std::path::{Path, PathBuf};

use paseo_sdk::catalogue::CreateWorktree;
use paseo_sdk::model::{SetupStatus, Worktree};

use super::{Scratch, branch_off, checkout, pull_request};

/// A repository with pull request 7, whose second commit would leave a trace; the worktree of that, and its commit.
async fn with_pull_request() -> (Scratch, PathBuf, String) {
    let scratch = Scratch::new();
    let origin = scratch.remote("origin");
    scratch.publish(&origin, "main", "first", "refs/heads/theirs");
    let clone = origin.with_extension("clone");
    std::fs::write(clone.join("paseo.json"), r#"{"worktree": {"setup": "touch theirs"}}"#).expect("written");
    let head = scratch.publish(&origin, "refs/heads/theirs", "second", "refs/pull/7/head");
    scratch.git_in(&clone, &["push", "--quiet", "origin", "--delete", "theirs"]);
    let made = scratch.pull_request(7).await.expect("made");
    (scratch, PathBuf::from(made.worktree_path), head)
}

impl Scratch {
    async fn make(&self, request: CreateWorktree, cwd: &Path) -> Worktree {
        self.worktrees.create(&request, cwd).await.expect("made")
    }

    async fn assert_suspect(&self, request: CreateWorktree, cwd: &Path) {
        let made = self.make(request.clone(), cwd).await;
        assert!(made.created && !made.trusted, "{request:?}: {made:?}");
        assert!(!Path::new(&made.worktree_path).join("theirs").exists(), "{request:?}");
        assert!(matches!(made.setup.status, SetupStatus::Skipped | SetupStatus::None), "{request:?}: {made:?}");
    }
}

fn from(branch: &str, base: &str) -> CreateWorktree {
    CreateWorktree { base_branch: Some(base.to_owned()), ..branch_off(branch) }
}

#[tokio::test]
async fn nothing_that_comes_from_a_pull_request_is_trusted() {
    let (scratch, tree, head) = with_pull_request().await;
    let project = scratch.project();
    scratch.assert_suspect(from("a", "HEAD"), &tree).await;
    scratch.assert_suspect(from("b", "pr-7"), &project).await;
    scratch.assert_suspect(from("c", &head), &project).await;
    scratch.assert_suspect(from("d", "pr-7~1"), &project).await;
    scratch.assert_suspect(checkout(&head), &project).await;
    scratch.assert_suspect(from("e", "a"), &project).await;
    // One commit more, and one that is merged with something else.
    scratch.git_in(&tree, &["commit", "--quiet", "--allow-empty", "-m", "more"]);
    scratch.assert_suspect(from("f", "HEAD"), &tree).await;
    scratch.git(&["checkout", "--quiet", "-b", "mixed"]);
    scratch.commit("other");
    scratch.git(&["merge", "--quiet", "-m", "mixed", &head]);
    scratch.assert_suspect(from("g", "mixed"), &project).await;
    scratch.git(&["checkout", "--quiet", "main"]);
    // What has nothing of it is as ever.
    assert!(scratch.make(branch_off("own"), &tree).await.trusted);
    scratch.git(&["branch", "side"]);
    assert!(scratch.make(checkout("side"), &project).await.trusted);
    // A person may say so.
    let made = scratch.make(CreateWorktree { trust: true, ..from("h", "pr-7") }, &project).await;
    assert_eq!((made.trusted, made.setup.status), (true, SetupStatus::Done));
}

#[tokio::test]
async fn the_branch_of_an_archived_pull_request_is_not_trusted() {
    let (scratch, tree, head) = with_pull_request().await;
    let place = scratch.worktrees.find(None, Some("pr-7"), Some(&tree)).await.expect("found");
    scratch.worktrees.archive(&place, false, true).await.expect("archived");
    scratch.assert_suspect(checkout("pr-7"), &scratch.project()).await;
    scratch.assert_suspect(from("a", &head), &scratch.project()).await;
    scratch.archive("pr-7", false).await.expect("archived");
    // Whatever is on it by now.
    scratch.git(&["branch", "--force", "pr-7", "main"]);
    scratch.assert_suspect(checkout("pr-7"), &scratch.project()).await;
}

#[tokio::test]
async fn a_pull_request_that_is_trusted_or_merged_is_a_base_as_any_other() {
    let (scratch, tree, _) = with_pull_request().await;
    let place = scratch.worktrees.find(None, Some("pr-7"), Some(&tree)).await.expect("found");
    scratch.worktrees.trust(&place, true).await.expect("trusted");
    let made = scratch.make(from("a", "HEAD"), &tree).await;
    assert_eq!((made.trusted, made.setup.status), (true, SetupStatus::Done));

    let (scratch, _, merged) = with_pull_request().await;
    scratch.assert_suspect(from("a", &merged), &scratch.project()).await;
    scratch.git(&["merge", "--quiet", "--no-ff", "-m", "merged", &merged]);
    assert!(scratch.make(branch_off("b"), &scratch.project()).await.trusted);
    assert!(scratch.make(from("c", &merged), &scratch.project()).await.trusted, "it is part of the main branch");
}

#[tokio::test]
async fn a_note_that_cannot_be_read_makes_no_trust() {
    let (scratch, tree, head) = with_pull_request().await;
    let note = scratch.project().join(".git/worktrees/pr-7/paseo.json");
    std::fs::write(&note, "{").expect("written");
    scratch.assert_suspect(from("a", &head), &scratch.project()).await;
    scratch.assert_suspect(from("b", "HEAD"), &tree).await;
    let listed = scratch.worktrees.list(Some(&scratch.project()), false).await.expect("listed");
    let found = listed.iter().find(|listed| listed.worktree_slug == "pr-7").expect("listed");
    assert!(!found.trusted && found.problem.as_ref().is_some_and(|why| why.contains("paseo.json")), "{found:?}");
}

#[tokio::test]
async fn a_branch_that_stands_in_the_way_of_a_pull_request_is_not_recommended() {
    let scratch = Scratch::new();
    let origin = scratch.remote("origin");
    scratch.publish(&origin, "main", "first", "refs/pull/7/head");
    scratch.git(&["branch", "pr-7"]);
    let error = scratch.worktrees.create(&pull_request(7), &scratch.project()).await.expect_err("it is in the way");
    let hint = error.hint.expect("a hint");
    assert!(hint.contains("git branch -m pr-7") && !hint.contains("checkout"), "{hint}");
}
