//! Pull requests: where their heads come from, and where what is pushed goes.

use std::path::{Path, PathBuf};

use paseo_sdk::Code;
use paseo_sdk::catalogue::CreateWorktree;
use paseo_sdk::model::{PullRequest, Worktree};
use serde_json::{Value, json};

use super::{Scratch, field, pull_request, refused};

/// A repository with a remote `origin` that has pull request 7, and the commit of that.
fn with_pull_request() -> (Scratch, PathBuf, String) {
    let scratch = Scratch::new();
    let origin = scratch.remote("origin");
    let head = scratch.publish(&origin, "main", "proposed", "refs/pull/7/head");
    (scratch, origin, head)
}

/// The same, where `origin` is on GitHub as far as its address says.
fn on_github() -> (Scratch, PathBuf) {
    let (scratch, origin, _) = with_pull_request();
    scratch.git(&["remote", "set-url", "origin", "https://github.com/acme/app.git"]);
    scratch.stand_in(&origin, "https://github.com/acme/app.git");
    (scratch, origin)
}

/// What `gh` says of a pull request from branch `head` of the repository itself.
fn own(head: &str) -> Value {
    json!({
        "title": "Propose something", "headRefName": head, "baseRefName": "develop", "isCrossRepository": false,
        "headRepository": { "id": "R_1", "name": "app" }, "headRepositoryOwner": { "id": "U_1", "login": "acme" },
    })
}

/// What it says of one from branch `head` of a fork.
fn fork(head: &str) -> Value {
    let mut known = own(head);
    known["isCrossRepository"] = true.into();
    known["headRepositoryOwner"]["login"] = "bob".into();
    known
}

impl Scratch {
    /// Has git go to a repository here in place of an address.
    fn stand_in(&self, repository: &Path, address: &str) {
        self.git(&["config", &format!("url.{}.insteadOf", repository.display()), address]);
    }

    /// Puts a program `gh` on the path of the daemon, which does this.
    fn gh(&self, script: &str) {
        std::fs::create_dir_all(self.root.join("bin")).expect("made");
        let log = self.root.join("gh.log");
        let script = format!("#!/bin/sh\necho \"$*\" >> {}\n{script}\n", log.display());
        crate::lab::program(&self.root.join("bin/gh"), script.as_bytes());
    }

    fn gh_says(&self, known: &Value) {
        self.gh(&format!("cat <<'END'\n{known}\nEND"));
    }

    fn assert_head(&self, made: &Worktree, commit: &str) {
        assert_eq!(self.commit_of(&made.worktree_path, "HEAD"), commit);
        self.assert_sound(made);
    }
}

#[tokio::test]
async fn a_pull_request_is_checked_out_on_a_branch_of_its_own() {
    let (scratch, _, head) = with_pull_request();
    let main = scratch.commit_of(scratch.project(), "main");
    let made = scratch.pull_request(7).await.expect("made");
    assert_eq!((made.branch_name.as_deref(), made.worktree_slug.as_str()), (Some("pr-7"), "pr-7"));
    assert_eq!((made.base_branch.as_deref(), made.base_commit.as_ref()), (Some("main"), Some(&main)));
    assert_eq!((made.created, made.trusted), (true, false));
    assert_eq!(made.pull_request, Some(PullRequest { number: 7, title: None }));
    scratch.assert_head(&made, &head);
    let listed = scratch.only().await;
    assert_eq!((listed.trusted, listed.dirty, listed.ahead, listed.behind), (false, false, Some(1), Some(0)));
    assert_eq!(listed.pull_request, Some(PullRequest { number: 7, title: None }));
    let again = scratch.pull_request(7).await.expect("found");
    assert_eq!((again.created, again.trusted, &again.worktree_path), (false, false, &made.worktree_path));
    assert!(!scratch.traces().contains("refs/paseo"), "no reference but the branch");
}

#[tokio::test]
async fn a_pull_request_that_is_taken_back_leaves_nothing() {
    let (scratch, ..) = with_pull_request();
    std::fs::write(scratch.project().join(".git/FETCH_HEAD"), "of the user\n").expect("written");
    let before = scratch.traces();
    let trusted = CreateWorktree { trust: true, ..pull_request(7) };
    let made = scratch.worktrees.create(&trusted, &scratch.project()).await.expect("made");
    assert!(made.created && made.trusted && scratch.only().await.trusted);
    scratch.worktrees.roll_back(&made).await.expect("rolled back");
    assert_eq!(scratch.traces(), before, "neither branch, reference nor configuration");
}

#[tokio::test]
async fn what_is_found_can_be_trusted_later() {
    let (scratch, ..) = with_pull_request();
    assert!(!scratch.pull_request(7).await.expect("made").trusted);
    let trusted = CreateWorktree { trust: true, ..pull_request(7) };
    let found = scratch.worktrees.create(&trusted, &scratch.project()).await.expect("found");
    assert_eq!((found.created, found.trusted), (false, true));
    assert!(scratch.only().await.trusted);
}

#[tokio::test]
async fn pushing_reaches_the_pull_request_and_pulling_brings_its_news() {
    for elsewhere in [false, true] {
        let (scratch, origin, _) = with_pull_request();
        if elsewhere {
            // Where the user's own branches go is not where somebody else's pull request comes from.
            scratch.remote("mine");
            scratch.git(&["config", "remote.pushDefault", "mine"]);
            scratch.git(&["config", "push.default", "current"]);
        }
        let made = scratch.pull_request(7).await.expect("made");
        let pushed = scratch.push_from(&made);
        assert_eq!(scratch.commit_of(&origin, "refs/pull/7/head"), pushed);
        let news = scratch.publish(&origin, "refs/pull/7/head", "news", "refs/pull/7/head");
        let path = Path::new(&made.worktree_path);
        scratch.git_in(path, &["pull", "--quiet", "--ff-only"]);
        scratch.assert_head(&made, &news);
        assert_eq!(scratch.git_in(&origin, &["branch", "--format=%(refname:short)"]), "main", "and nothing else");
        // Other branches are pushed as they were.
        let set = |key: &str| scratch.command(&scratch.project(), &["config", key]).output().expect("git").stdout;
        assert_eq!(set("push.default"), if elsewhere { &b"current\n"[..] } else { b"" });
    }
}

#[tokio::test]
async fn a_pull_request_that_is_nowhere_is_not_found_and_leaves_nothing() {
    let scratch = Scratch::new();
    let error = refused(scratch.pull_request(7).await, Code::InvalidArgument, "no remote");
    assert_eq!(field(&error), "githubPrNumber");
    scratch.remote("origin");
    scratch.remote("fork");
    let before = scratch.traces();
    let error = refused(scratch.pull_request(7).await, Code::NotFound, "no pull request 7 on origin or fork");
    assert_eq!(field(&error), "githubPrNumber");
    assert_eq!(error.details.expect("details")["remotes"], json!(["origin", "fork"]));
    std::fs::remove_dir_all(scratch.root.join("fork.git")).expect("removed");
    let error = refused(scratch.pull_request(7).await, Code::Unavailable, "from fork");
    assert_eq!(field(&error), "githubPrNumber");
    assert_eq!(scratch.traces(), before);
    let error = scratch.pull_request(0).await.expect_err("no number");
    assert_eq!((field(&error).as_str(), error.code), ("githubPrNumber", Code::InvalidArgument));
}

#[tokio::test]
async fn the_remote_in_which_pull_requests_are_made_goes_first() {
    let (scratch, _, of_origin) = with_pull_request();
    let made = scratch.pull_request(7).await.expect("made");
    scratch.assert_head(&made, &of_origin);
    scratch.worktrees.roll_back(&made).await.expect("rolled back");
    let upstream = scratch.remote("upstream");
    let of_upstream = scratch.publish(&upstream, "main", "theirs", "refs/pull/7/head");
    let made = scratch.pull_request(7).await.expect("made");
    scratch.assert_head(&made, &of_upstream);
    assert_eq!(scratch.push_from(&made), scratch.commit_of(&upstream, "refs/pull/7/head"));
    scratch.git(&["worktree", "remove", &made.worktree_path]);
    scratch.git(&["branch", "--quiet", "-D", "pr-7"]);
    let chosen = scratch.remote("a-third");
    let of_chosen = scratch.publish(&chosen, "main", "chosen", "refs/pull/7/head");
    scratch.git(&["config", "remote.a-third.gh-resolved", "base"]);
    let made = scratch.pull_request(7).await.expect("made");
    scratch.assert_head(&made, &of_chosen);
    let only_there = scratch.publish(&scratch.root.join("origin.git"), "main", "eight", "refs/pull/8/head");
    let made = scratch.pull_request(8).await.expect("it is on the last one that is asked");
    scratch.assert_head(&made, &only_there);
}

#[tokio::test]
async fn gh_says_what_a_pull_request_is_called_and_where_it_goes() {
    for head in ["feature", "dependabot/npm_and_yarn/x-1.2", "Fix_Größe.2"] {
        let (scratch, origin) = on_github();
        let base = scratch.publish(&origin, "main", "base", "refs/heads/develop");
        let commit = scratch.publish(&origin, "develop", "change", &format!("refs/heads/{head}"));
        scratch.git_in(&origin, &["update-ref", "refs/pull/7/head", &commit]);
        scratch.gh_says(&own(head));
        let before = scratch.traces();
        let made = scratch.pull_request(7).await.expect("made");
        assert_eq!(made.branch_name.as_deref(), Some(head));
        assert_eq!((made.base_branch.as_deref(), made.base_commit.as_ref()), (Some("origin/develop"), Some(&base)));
        let title = Some("Propose something".to_owned());
        assert_eq!(made.pull_request, Some(PullRequest { number: 7, title }));
        scratch.assert_head(&made, &commit);
        let asked = std::fs::read_to_string(scratch.root.join("gh.log")).expect("it was asked");
        assert!(asked.starts_with("pr view 7 --repo github.com/acme/app --json title,"), "{asked}");
        let path = Path::new(&made.worktree_path);
        let status = ["-c", "core.quotePath=false", "status", "--short", "--branch"];
        assert_eq!(scratch.git_in(path, &status), format!("## {head}...origin/{head}"));
        let listed = scratch.only().await;
        assert_eq!((listed.ahead, listed.behind), (Some(1), Some(0)));
        assert!(!scratch.pull_request(7).await.expect("found").created);
        assert_eq!(scratch.push_from(&made), scratch.commit_of(&origin, &format!("refs/heads/{head}")));
        let news = scratch.publish(&origin, head, "news", &format!("refs/heads/{head}"));
        scratch.git_in(path, &["pull", "--quiet", "--ff-only"]);
        scratch.assert_head(&made, &news);
        assert!(!scratch.traces().contains("refs/paseo") && !before.contains(head));
    }
}

#[tokio::test]
async fn a_pull_request_keeps_its_branch_name_when_gh_comes_or_goes() {
    let (scratch, origin) = on_github();
    scratch.gh("exit 4");
    let made = scratch.pull_request(7).await.expect("made");
    assert_eq!(made.branch_name.as_deref(), Some("pr-7"));
    scratch.publish(&origin, "main", "base", "refs/heads/develop");
    scratch.gh_says(&own("feature"));
    let again = scratch.pull_request(7).await.expect("found");
    assert_eq!((again.created, again.worktree_path), (false, made.worktree_path));
}

#[tokio::test]
async fn what_is_pushed_for_a_fork_goes_to_the_fork() {
    for remote in [None, Some("bobs")] {
        let (scratch, origin) = on_github();
        scratch.publish(&origin, "main", "base", "refs/heads/develop");
        let bobs = scratch.bare("bob");
        scratch.git(&["push", "--quiet", bobs.to_str().expect("UTF-8"), "main"]);
        let commit = scratch.publish(&bobs, "main", "change", "refs/heads/feature");
        scratch.git(&["fetch", "--quiet", bobs.to_str().expect("UTF-8"), "feature"]);
        scratch.git(&["push", "--quiet", "origin", "+FETCH_HEAD:refs/pull/7/head"]);
        scratch.stand_in(&bobs, "https://github.com/bob/app.git");
        if let Some(remote) = remote {
            // Names of users and repositories are the same in any case.
            scratch.git(&["remote", "add", remote, "https://github.com/Bob/app"]);
            scratch.stand_in(&bobs, "https://github.com/Bob/app");
        }
        scratch.gh_says(&fork("feature"));
        let made = scratch.pull_request(7).await.expect("made");
        assert_eq!((made.branch_name.as_deref(), made.worktree_slug.as_str()), (Some("bob/feature"), "bob-feature"));
        assert_eq!(made.base_branch.as_deref(), Some("origin/develop"));
        scratch.assert_head(&made, &commit);
        let set = scratch.git(&["config", "branch.bob/feature.remote"]);
        assert_eq!(set, remote.unwrap_or("https://github.com/bob/app.git"));
        assert_eq!(scratch.push_from(&made), scratch.commit_of(&bobs, "refs/heads/feature"));
        assert_eq!(scratch.commit_of(&origin, "refs/pull/7/head"), commit, "not here");
        let news = scratch.publish(&bobs, "feature", "news", "refs/heads/feature");
        scratch.git_in(Path::new(&made.worktree_path), &["pull", "--quiet", "--ff-only"]);
        scratch.assert_head(&made, &news);
        assert_eq!(scratch.git_in(&bobs, &["branch", "--format=%(refname:short)"]), "feature\nmain");
    }
}

#[tokio::test]
async fn without_an_answer_of_gh_everything_works_as_without_gh() {
    for script in [
        "echo 'To get started with GitHub CLI, please run: gh auth login' >&2; exit 4",
        "echo rubbish",
        "echo '{}'",
        "true",
        "kill -9 $$",
        r#"echo '{"title":"t","headRefName":"a b","baseRefName":"main","isCrossRepository":false}'"#,
        r#"echo '{"title":"t","headRefName":"a","baseRefName":"--upload-pack=x","isCrossRepository":false}'"#,
    ] {
        let (scratch, origin) = on_github();
        scratch.gh(script);
        let made = scratch.pull_request(7).await.expect(script);
        assert_eq!(
            (made.branch_name.as_deref(), made.base_branch.as_deref()),
            (Some("pr-7"), Some("main")),
            "{script}"
        );
        scratch.assert_head(&made, &scratch.commit_of(&origin, "refs/pull/7/head"));
        assert_eq!(scratch.push_from(&made), scratch.commit_of(&origin, "refs/pull/7/head"));
        assert!(scratch.root.join("gh.log").exists(), "it was asked");
    }
}

#[tokio::test]
async fn branches_that_were_deleted_after_a_merge_are_not_needed() {
    let (scratch, origin) = on_github();
    scratch.publish(&origin, "main", "base", "refs/heads/develop");
    let commit = scratch.commit_of(&origin, "refs/pull/7/head");
    scratch.gh_says(&own("gone"));
    let made = scratch.pull_request(7).await.expect("the head is gone");
    assert_eq!((made.branch_name.as_deref(), made.base_branch.as_deref()), (Some("gone"), Some("origin/develop")));
    scratch.assert_head(&made, &commit);
    scratch.worktrees.roll_back(&made).await.expect("rolled back");
    scratch.git_in(&origin, &["branch", "-D", "develop"]);
    scratch.git(&["update-ref", "-d", "refs/remotes/origin/develop"]);
    let made = scratch.pull_request(7).await.expect("the base is gone too");
    assert_eq!((made.branch_name.as_deref(), made.base_branch.as_deref()), (Some("gone"), Some("main")));
    scratch.assert_head(&made, &commit);
}

#[tokio::test]
async fn a_local_branch_named_like_the_head_is_used_only_where_it_is_the_same() {
    let (scratch, origin) = on_github();
    scratch.publish(&origin, "main", "base", "refs/heads/develop");
    let commit = scratch.publish(&origin, "develop", "change", "refs/heads/feature");
    scratch.git_in(&origin, &["update-ref", "refs/pull/7/head", &commit]);
    scratch.gh_says(&own("feature"));
    scratch.git(&["branch", "feature"]);
    let before = scratch.traces();
    let error = refused(scratch.pull_request(7).await, Code::Conflict, "`feature` exists already");
    assert!(error.message.contains("pull request 7"), "{}", error.message);
    assert_eq!(scratch.traces(), before);
    scratch.git(&["fetch", "--quiet", "origin"]);
    scratch.git(&["branch", "--quiet", "--force", "--track", "feature", "origin/feature"]);
    let before = scratch.traces();
    let made = scratch.pull_request(7).await.expect("made");
    assert_eq!(made.branch_name.as_deref(), Some("feature"));
    scratch.assert_head(&made, &commit);
    scratch.worktrees.roll_back(&made).await.expect("rolled back");
    assert_eq!(scratch.traces(), before, "it was there before");
    let made = scratch.pull_request(7).await.expect("made");
    assert_eq!(scratch.push_from(&made), scratch.commit_of(&origin, "refs/heads/feature"));
}
