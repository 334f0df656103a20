//! What is fetched first, and what is said when that does not work.

use std::path::Path;

use paseo_sdk::catalogue::CreateWorktree;
use paseo_sdk::model::Worktree;
use paseo_sdk::{ApiError, Code};

use super::{Scratch, branch_off, checkout, field, refused};

impl Scratch {
    async fn create_fetched(&self, branch: &str, base: Option<&str>) -> Result<Worktree, ApiError> {
        let request = CreateWorktree { base_branch: base.map(str::to_owned), fetch: true, ..branch_off(branch) };
        self.worktrees.create(&request, &self.project()).await
    }

    async fn check_out_fetched(&self, ref_name: &str) -> Result<Worktree, ApiError> {
        self.worktrees.create(&CreateWorktree { fetch: true, ..checkout(ref_name) }, &self.project()).await
    }
}

#[tokio::test]
async fn a_branch_starts_from_the_newest_of_its_base() {
    for upstream in [true, false] {
        let scratch = Scratch::new();
        let old = scratch.commit_of(scratch.project(), "main");
        let origin = scratch.remote("origin");
        let fetched = || std::fs::read(scratch.project().join(".git/FETCH_HEAD")).ok();
        let before = fetched();
        if upstream {
            scratch.git(&["branch", "--quiet", "--set-upstream-to=origin/main", "main"]);
        }
        let new = scratch.publish(&origin, "main", "news", "refs/heads/main");
        let made = scratch.create("as-it-was").await.expect("made");
        assert_eq!(made.base_commit.as_ref(), Some(&old), "nothing is fetched unless that is asked");
        for (branch, base) in [("asked", Some("main")), ("left-out", None)] {
            let made = scratch.create_fetched(branch, base).await.expect("made");
            assert_eq!((made.base_branch.as_deref(), made.base_commit.as_ref()), (Some("main"), Some(&new)));
            assert_eq!(scratch.commit_of(&made.worktree_path, "HEAD"), new);
            scratch.assert_sound(&made);
            let listed = scratch.worktrees.list(Some(&scratch.project()), false).await.expect("listed");
            let listed = listed.iter().find(|tree| tree.worktree_path == made.worktree_path).expect("it is there");
            assert_eq!((listed.ahead, listed.behind), (Some(0), Some(0)));
            assert!(!scratch.create_fetched(branch, base).await.expect("found").created);
        }
        assert_eq!(scratch.commit_of(scratch.project(), "main"), old, "the local branch stays where it is");
        assert_eq!(fetched(), before, "what was fetched last is the user's to know");
    }
}

#[tokio::test]
async fn local_commits_of_the_base_are_not_lost() {
    let scratch = Scratch::new();
    let origin = scratch.remote("origin");
    scratch.git(&["branch", "--quiet", "--set-upstream-to=origin/main", "main"]);
    let ahead = scratch.commit("not pushed");
    let made = scratch.create_fetched("ahead", Some("main")).await.expect("made");
    assert_eq!((made.base_branch.as_deref(), made.base_commit.as_ref()), (Some("main"), Some(&ahead)));
    scratch.publish(&origin, "main", "news", "refs/heads/main");
    let made = scratch.create_fetched("diverged", Some("main")).await.expect("made");
    assert_eq!((made.base_branch.as_deref(), made.base_commit.as_ref()), (Some("main"), Some(&ahead)));
    scratch.assert_sound(&made);
}

#[tokio::test]
async fn branches_and_tags_that_are_new_on_the_remote_are_fetched() {
    let scratch = Scratch::new();
    let origin = scratch.remote("origin");
    let news = scratch.publish(&origin, "main", "news", "refs/heads/feat/news");
    let error = refused(scratch.create_from("x", Some("origin/feat/news")).await, Code::InvalidArgument, "baseBranch");
    assert!(error.hint.is_some_and(|hint| hint.contains("`fetch`")));
    let error = refused(scratch.check_out("origin/feat/news").await, Code::InvalidArgument, "refName");
    assert!(error.hint.is_some_and(|hint| hint.contains("`fetch`")));
    let made = scratch.create_fetched("x", Some("origin/feat/news")).await.expect("made");
    assert_eq!((made.base_branch.as_deref(), made.base_commit.as_ref()), (Some("origin/feat/news"), Some(&news)));
    scratch.assert_sound(&made);
    let newer = scratch.publish(&origin, "feat/news", "newer", "refs/heads/feat/news");
    let made = scratch.create_fetched("y", Some("origin/feat/news")).await.expect("made");
    assert_eq!(made.base_commit, Some(newer.clone()), "one that is there is brought up to date");

    for asked in ["origin/one", "two"] {
        let branch = asked.trim_start_matches("origin/");
        scratch.git_in(&origin, &["branch", branch, &news]);
        let made = scratch.check_out_fetched(asked).await.expect(asked);
        assert_eq!((made.branch_name.as_deref(), made.base_commit.as_ref()), (Some(branch), Some(&news)));
        scratch.assert_sound(&made);
    }
    scratch.git_in(&origin, &["tag", "v2", &newer]);
    let made = scratch.create_fetched("z", Some("v2")).await.expect("made");
    assert_eq!((made.base_branch.as_deref(), made.base_commit.as_ref()), (Some("v2"), Some(&newer)));
    scratch.git_in(&origin, &["tag", "v3", &newer]);
    let made = scratch.check_out_fetched("v3").await.expect("made");
    assert_eq!((made.branch_name.as_deref(), made.base_branch.as_deref()), (None, Some("v3")));
    for (branch, base) in [("tagged", "v2"), ("commit", newer.as_str()), ("before", "origin/feat/news~1")] {
        let made = scratch.create_fetched(branch, Some(base)).await.expect(base);
        scratch.assert_sound(&made);
    }
}

#[tokio::test]
async fn an_address_may_be_relative_to_the_checkout() {
    let scratch = Scratch::new();
    let origin = scratch.remote("origin");
    scratch.git(&["remote", "set-url", "origin", "../origin.git"]);
    let news = scratch.publish(&origin, "main", "news", "refs/heads/news");
    scratch.git_in(&origin, &["update-ref", "refs/pull/7/head", &news]);
    let made = scratch.create("tree").await.expect("made");
    let cwd = Path::new(&made.worktree_path);
    let made = scratch.worktrees.create(&CreateWorktree { fetch: true, ..checkout("news") }, cwd).await.expect("made");
    assert_eq!(made.base_commit.as_ref(), Some(&news));
    let made = scratch.worktrees.create(&super::pull_request(7), cwd).await.expect("made");
    assert_eq!(scratch.commit_of(&made.worktree_path, "HEAD"), news);
}

#[tokio::test]
async fn a_remote_that_cannot_be_fetched_from_is_said_and_leaves_nothing() {
    let scratch = Scratch::new();
    let before = scratch.traces();
    for result in [scratch.create_fetched("x", None).await, scratch.check_out_fetched("main~0").await] {
        let error = refused(result, Code::InvalidArgument, "no remote");
        assert_eq!(field(&error), "fetch");
    }
    assert_eq!(scratch.traces(), before);

    scratch.git(&["branch", "stale"]);
    let origin = scratch.remote("origin");
    scratch.git(&["branch", "-D", "stale"]);
    scratch.git_in(&origin, &["branch", "-D", "stale"]);
    let before = scratch.traces();
    for result in
        [scratch.create_fetched("x", Some("origin/stale")).await, scratch.check_out_fetched("origin/stale").await]
    {
        let error = refused(result, Code::Unavailable, "`stale` of origin");
        assert_eq!(field(&error), "fetch");
        assert_eq!(scratch.traces(), before);
    }
    let made = scratch.create_from("x", Some("origin/stale")).await.expect("what was fetched before is there");
    scratch.worktrees.roll_back(&made).await.expect("rolled back");
    std::fs::remove_dir_all(&origin).expect("removed");
    for result in [
        scratch.create_fetched("x", Some("origin/main")).await,
        scratch.create_fetched("x", None).await,
        scratch.check_out_fetched("anything").await,
    ] {
        let error = refused(result, Code::Unavailable, "cannot be fetched");
        assert_eq!(field(&error), "fetch");
        assert_eq!(scratch.traces(), before);
    }
}
