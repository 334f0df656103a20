//! Branches, tags and commits that are there already, checked out as they are.

use std::path::Path;

use paseo_sdk::Code;
use paseo_sdk::catalogue::CreateWorktree;

use super::{Scratch, checkout, field, refused};

#[tokio::test]
async fn a_local_branch_is_checked_out_and_stays_when_its_worktree_goes() {
    let scratch = Scratch::new();
    scratch.git(&["branch", "feat/Topic_1.x"]);
    scratch.commit("main goes on");
    let before = scratch.traces();
    let made = scratch.check_out("feat/Topic_1.x").await.expect("made");
    assert_eq!((made.branch_name.as_deref(), made.worktree_slug.as_str()), (Some("feat/Topic_1.x"), "feat-topic-1-x"));
    assert_eq!((made.base_branch.as_deref(), made.created, made.trusted), (Some("main"), true, true));
    scratch.assert_sound(&made);
    let listed = scratch.only().await;
    assert_eq!((listed.dirty, listed.ahead, listed.behind), (false, Some(0), Some(1)));
    let again = scratch.check_out("refs/heads/feat/Topic_1.x").await.expect("found");
    assert_eq!((again.created, again.worktree_path), (false, made.worktree_path.clone()));
    std::fs::remove_file(scratch.project().join(".git/worktrees/feat-topic-1-x/paseo.json")).expect("it is there");
    // Made by somebody else now, as far as can be known.
    refused(scratch.check_out("feat/Topic_1.x").await, Code::Conflict, "another worktree");
    scratch.git(&["worktree", "remove", &made.worktree_path]);

    let made = scratch.check_out("feat/Topic_1.x").await.expect("made");
    scratch.worktrees.roll_back(&made).await.expect("rolled back");
    assert_eq!(scratch.traces(), before, "the branch was there before");
}

#[tokio::test]
async fn a_branch_with_an_upstream_is_compared_with_that() {
    let scratch = Scratch::new();
    scratch.git(&["branch", "topic"]);
    let origin = scratch.remote("origin");
    scratch.git(&["branch", "--quiet", "--set-upstream-to=origin/topic", "topic"]);
    scratch.publish(&origin, "topic", "one", "refs/heads/topic");
    scratch.publish(&origin, "topic", "two", "refs/heads/topic");
    scratch.git(&["fetch", "--quiet", "origin"]);
    let made = scratch.check_out("topic").await.expect("made");
    assert_eq!(made.base_branch.as_deref(), Some("origin/topic"));
    scratch.assert_sound(&made);
    scratch.git_in(Path::new(&made.worktree_path), &["commit", "--quiet", "--allow-empty", "-m", "own"]);
    let listed = scratch.only().await;
    assert_eq!((listed.ahead, listed.behind), (Some(1), Some(2)));
}

#[tokio::test]
async fn a_branch_whose_upstream_is_a_local_one_is_compared_with_that() {
    let scratch = Scratch::new();
    scratch.git(&["branch", "--quiet", "--track", "topic", "main"]);
    scratch.git(&["branch", "other"]);
    scratch.git(&["branch", "--quiet", "--set-upstream-to=other", "topic"]);
    let made = scratch.check_out("topic").await.expect("made");
    assert_eq!(made.base_branch.as_deref(), Some("other"));
    scratch.assert_sound(&made);
}

#[tokio::test]
async fn a_branch_of_a_remote_becomes_a_local_one_that_follows_it() {
    let scratch = Scratch::new();
    let origin = scratch.remote("origin");
    let forget_fetched = || std::fs::remove_file(scratch.project().join(".git/FETCH_HEAD")).expect("it was fetched");
    forget_fetched();
    let before = scratch.traces();
    for (asked, branch) in [("origin/a", "a"), ("refs/remotes/origin/deep/b", "deep/b"), ("c", "c"), ("größe", "größe")]
    {
        let commit = scratch.publish(&origin, "main", "file", &format!("refs/heads/{branch}"));
        scratch.git(&["fetch", "--quiet", "origin"]);
        let made = scratch.check_out(asked).await.expect(asked);
        let path = Path::new(&made.worktree_path);
        assert_eq!((made.branch_name.as_deref(), made.created), (Some(branch), true));
        assert_eq!(made.base_branch, Some(format!("origin/{branch}")));
        assert_eq!((scratch.commit_of(path, "HEAD"), made.base_commit.as_ref()), (commit.clone(), Some(&commit)));
        scratch.assert_sound(&made);
        let status = ["-c", "core.quotePath=false", "status", "--short", "--branch"];
        assert_eq!(scratch.git_in(path, &status), format!("## {branch}...origin/{branch}"));
        assert!(!scratch.check_out(asked).await.expect("found").created);
        assert_eq!(scratch.push_from(&made), scratch.commit_of(&origin, &format!("refs/heads/{branch}")));
        let news = scratch.publish(&origin, branch, "news", &format!("refs/heads/{branch}"));
        scratch.git_in(path, &["pull", "--quiet", "--ff-only"]);
        assert_eq!(scratch.commit_of(path, "HEAD"), news);
        scratch.git(&["worktree", "remove", &made.worktree_path]);
        scratch.git(&["branch", "--quiet", "-D", branch]);
    }
    scratch.git(&["worktree", "prune"]);
    for asked in ["origin/a", "c"] {
        let made = scratch.check_out(asked).await.expect("made");
        scratch.worktrees.roll_back(&made).await.expect("rolled back");
    }
    forget_fetched();
    // git leaves the directory of the worktrees.
    let relevant = |traces: &str| traces.replace("home: []", "");
    assert_eq!(relevant(&scratch.traces()), relevant(&before), "no branch, and nothing set for one");
}

#[tokio::test]
async fn the_head_of_a_remote_is_the_branch_that_it_points_to() {
    let scratch = Scratch::new();
    scratch.git(&["branch", "trunk"]);
    scratch.remote("origin");
    scratch.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk"]);
    scratch.git(&["branch", "-D", "trunk"]);
    let made = scratch.check_out("origin/HEAD").await.expect("made");
    assert_eq!((made.branch_name.as_deref(), made.base_branch.as_deref()), (Some("trunk"), Some("origin/trunk")));
    scratch.assert_sound(&made);
}

#[tokio::test]
async fn a_name_that_two_remotes_have_is_asked_back() {
    let scratch = Scratch::new();
    scratch.git(&["branch", "topic"]);
    scratch.remote("origin");
    scratch.remote("fork");
    scratch.git(&["branch", "-D", "topic"]);
    let before = scratch.traces();
    let error = refused(scratch.check_out("topic").await, Code::InvalidArgument, "origin/topic");
    assert!(error.message.contains("fork/topic"), "{}", error.message);
    assert_eq!(field(&error), "refName");
    assert_eq!(scratch.traces(), before);
    let made = scratch.check_out("fork/topic").await.expect("made");
    assert_eq!((made.branch_name.as_deref(), made.base_branch.as_deref()), (Some("topic"), Some("fork/topic")));
    assert_eq!(scratch.git(&["config", "branch.topic.remote"]), "fork");
    scratch.assert_sound(&made);
}

#[tokio::test]
async fn a_local_branch_of_the_same_name_is_used_only_where_it_is_the_same() {
    let scratch = Scratch::new();
    scratch.git(&["branch", "same"]);
    scratch.git(&["branch", "other"]);
    let origin = scratch.remote("origin");
    scratch.publish(&origin, "other", "news", "refs/heads/other");
    scratch.git(&["fetch", "--quiet", "origin"]);
    let before = scratch.traces();
    let made = scratch.check_out("origin/same").await.expect("made");
    assert_eq!((made.branch_name.as_deref(), made.base_branch.as_deref()), (Some("same"), Some("origin/same")));
    scratch.assert_sound(&made);
    scratch.worktrees.roll_back(&made).await.expect("rolled back");
    assert_eq!(scratch.traces(), before, "it was there before");
    let error = refused(scratch.check_out("origin/other").await, Code::Conflict, "exists already");
    assert!(error.message.contains("`other`") && error.message.contains("origin"), "{}", error.message);
    assert_eq!(scratch.traces(), before);
    let made = scratch.check_out("other").await.expect("the local one is meant");
    assert_eq!(scratch.commit_of(&made.worktree_path, "HEAD"), scratch.commit_of(scratch.project(), "main"));
    scratch.assert_sound(&made);
}

#[tokio::test]
async fn tags_and_commits_are_checked_out_without_a_branch() {
    let scratch = Scratch::new();
    let first = scratch.commit_of(scratch.project(), "HEAD");
    scratch.git(&["tag", "light"]);
    scratch.git(&["tag", "-a", "V2.0_rc", "-m", "two"]);
    let second = scratch.commit("more");
    let before = scratch.traces();
    for (asked, commit, base, slug) in [
        ("light", &first, "light", "light"),
        ("refs/tags/light", &first, "light", "light"),
        ("V2.0_rc", &first, "V2.0_rc", "v2-0-rc"),
        (&first, &first, &first, &first[..12]),
        (&first[..9], &first, &first, &first[..12]),
        ("main~1", &first, &first, &first[..12]),
        ("HEAD", &second, &second, &second[..12]),
        ("@", &second, &second, &second[..12]),
        ("tags/light", &first, &first, &first[..12]),
    ] {
        let made = scratch.check_out(asked).await.expect(asked);
        assert_eq!((made.branch_name.as_deref(), made.created), (None, true), "{asked}");
        assert_eq!((made.base_branch.as_deref(), made.worktree_slug.as_str()), (Some(base), slug), "{asked}");
        assert_eq!(
            (made.base_commit.as_ref(), scratch.commit_of(&made.worktree_path, "HEAD")),
            (Some(commit), commit.clone())
        );
        scratch.assert_sound(&made);
        let listed = scratch.only().await;
        assert_eq!((listed.branch_name.as_deref(), listed.head_commit.as_ref()), (None, Some(commit)));
        assert_eq!((listed.dirty, listed.ahead, listed.behind, listed.problem), (false, Some(0), Some(0), None));
        let again = scratch.check_out(commit).await.expect("found");
        assert_eq!((again.created, &again.worktree_path), (false, &made.worktree_path));
        let second = CreateWorktree { worktree_slug: Some("second".to_owned()), ..checkout(asked) };
        let second = scratch.worktrees.create(&second, &scratch.project()).await.expect("another one");
        assert_eq!((second.created, second.worktree_slug.as_str()), (true, "second"));
        scratch.assert_sound(&second);
        assert_eq!(scratch.worktrees.roll_back(&made).await.expect_err("asked for twice").code, Code::Refused);
        for path in [&made.worktree_path, &second.worktree_path] {
            scratch.git(&["worktree", "remove", path]);
        }
        let made = scratch.check_out(asked).await.expect("made again");
        scratch.worktrees.roll_back(&made).await.expect("rolled back");
        assert_eq!(scratch.traces(), before, "{asked}");
    }
}

#[tokio::test]
async fn head_is_that_of_the_checkout_in_which_it_is_said() {
    let scratch = Scratch::new();
    scratch.remote("origin");
    // What a clone has: a branch of that name would be a trap.
    scratch.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]);
    let made = scratch.create("topic").await.expect("made");
    let path = Path::new(&made.worktree_path);
    scratch.git_in(path, &["commit", "--quiet", "--allow-empty", "-m", "own"]);
    let head = scratch.worktrees.create(&checkout("HEAD"), path).await.expect("made");
    assert_eq!((head.branch_name.as_deref(), head.base_commit), (None, Some(scratch.commit_of(path, "HEAD"))));
}

#[tokio::test]
async fn a_branch_that_is_checked_out_elsewhere_is_refused_with_where() {
    let scratch = Scratch::new();
    let elsewhere = scratch.root.join("elsewhere");
    scratch.git(&["worktree", "add", "--quiet", "-b", "theirs", elsewhere.to_str().expect("UTF-8")]);
    let before = scratch.traces();
    let error = refused(scratch.check_out("main").await, Code::Conflict, "is checked out in the main checkout");
    assert!(error.message.contains(scratch.project().to_str().expect("UTF-8")));
    let error = refused(scratch.check_out("theirs").await, Code::Conflict, "is checked out in another worktree");
    assert!(error.message.contains(elsewhere.to_str().expect("UTF-8")));
    assert_eq!(scratch.traces(), before);
    let made = scratch.create("ours").await.expect("made");
    let again = scratch.check_out("ours").await.expect("found");
    assert_eq!((again.created, again.worktree_path, again.base_branch), (false, made.worktree_path, made.base_branch));
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_the_field() {
    let scratch = Scratch::new();
    scratch.remote("origin");
    scratch.git(&["tag", "blob", &scratch.git(&["rev-parse", "HEAD:README.md"])]);
    let before = scratch.traces();
    for asked in [
        "nope",
        "origin/nope",
        "refs/heads/nope",
        "deadbeef",
        "-x",
        "--help",
        "main..main",
        "HEAD~99",
        "main:README.md",
        "a b",
        "*",
        "origin/*",
        "..",
        "\n",
        "@{u",
        "main@{1 year ago}x",
    ] {
        let error = refused(scratch.check_out(asked).await, Code::InvalidArgument, "refName");
        assert_eq!(field(&error), "refName", "{asked}");
        let fetched = CreateWorktree { fetch: true, ..checkout(asked) };
        let error = scratch.worktrees.create(&fetched, &scratch.project()).await.expect_err(asked);
        assert!(["refName", "fetch"].contains(&field(&error).as_str()), "{asked}: {error:?}");
    }
    refused(scratch.check_out("blob").await, Code::InvalidArgument, "not a commit");
    assert_eq!(scratch.traces(), before);
    let empty = Scratch::empty();
    refused(empty.check_out("main").await, Code::InvalidArgument, "no commit yet");
}
