//! What is left of worktrees that were taken back, withdrawn or cut short: nothing, unless somebody worked in them.

use std::future::Future as _;
use std::path::Path;
use std::task::{Context, Poll, Waker};

use paseo_sdk::Code;

use super::{Scratch, branch_off, refused, worktrees};

#[tokio::test]
async fn a_worktree_that_is_rolled_back_leaves_nothing() {
    let scratch = Scratch::new();
    let before = scratch.traces();
    let made = scratch.create("fix/foo").await.expect("made");
    assert_ne!(scratch.traces(), before);
    scratch.worktrees.roll_back(&made).await.expect("rolled back");
    assert_eq!(scratch.traces(), before);
    assert!(!scratch.project().join(".git/worktrees").exists());
    assert!(!scratch.project().join(".git/refs/heads/fix").exists(), "no empty directory of refs");
    assert!(!scratch.project().join(".git/logs/refs/heads/fix/foo").exists(), "no reflog");
    assert!(scratch.create("fix/foo").await.expect("made again").created);
}

#[tokio::test]
async fn a_worktree_with_work_in_it_is_never_rolled_back() {
    let scratch = Scratch::new();
    scratch.write(".gitignore", "*.o\n");
    scratch.commit("ignore");
    for (branch, words) in
        [("untracked", "untracked"), ("commit", "new commits"), ("switched", "another branch"), ("locked", "locked")]
    {
        let made = scratch.create(branch).await.expect("made");
        let path = Path::new(&made.worktree_path);
        match branch {
            "untracked" => std::fs::write(path.join("new"), "work").expect("written"),
            "commit" => drop(scratch.git_in(path, &["commit", "--quiet", "--allow-empty", "-m", "work"])),
            "switched" => drop(scratch.git_in(path, &["switch", "--quiet", "-c", "elsewhere"])),
            _ => drop(scratch.git(&["worktree", "lock", &made.worktree_path])),
        }
        let before = scratch.traces();
        let error = scratch.worktrees.roll_back(&made).await.expect_err("it stays");
        assert_eq!(error.code, Code::Refused);
        assert!(error.message.contains(words), "{}", error.message);
        assert_eq!(scratch.traces(), before);
    }
    let ignored = scratch.create("ignored").await.expect("made");
    std::fs::write(Path::new(&ignored.worktree_path).join("x.o"), "object").expect("written");
    scratch.worktrees.roll_back(&ignored).await.expect("ignored files are no work");
    assert!(!Path::new(&ignored.worktree_path).exists());
}

#[tokio::test]
async fn a_worktree_that_somebody_else_was_given_too_stays() {
    let scratch = Scratch::new();
    let first = scratch.create("fix/foo").await.expect("made");
    let second = scratch.create("fix/foo").await.expect("found");
    for worktree in [&first, &second] {
        assert_eq!(scratch.worktrees.roll_back(worktree).await.expect_err("it stays").code, Code::Refused);
    }
    scratch.assert_sound(&first);
}

#[tokio::test]
async fn a_request_dropped_at_any_time_leaves_nothing() {
    let scratch = Scratch::new();
    for number in 0..500 {
        scratch.write(&format!("many/{number}"), "content\n");
    }
    scratch.commit("many files");
    let before = scratch.traces();
    let tree = scratch.root.join("home/worktrees");
    let git = scratch.project().join(".git");
    for stage in ["asked", "marked", "branch", "registered", "files", "noted"] {
        let reached = || {
            let home = || std::fs::read_dir(&tree).into_iter().flatten().flatten().next().map(|entry| entry.path());
            match stage {
                "asked" => true,
                "marked" => home().is_some(),
                "branch" => git.join("refs/heads/fix/foo").exists(),
                "registered" => git.join("worktrees").exists(),
                "files" => home().is_some_and(|home| home.join("fix-foo/many").exists()),
                _ => git.join("worktrees/fix-foo/paseo.json").exists(),
            }
        };
        let mut creation = Box::pin(scratch.create("fix/foo"));
        loop {
            if let Poll::Ready(made) = creation.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                // It was quicker than this test could look.
                scratch.worktrees.roll_back(&made.expect("made")).await.expect("rolled back");
                break;
            }
            if reached() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(creation);
        // The owner does one thing after another: when this has been answered, the withdrawal is done.
        let other = scratch.create("other").await.expect("made");
        scratch.worktrees.roll_back(&other).await.expect("rolled back");
        assert_eq!(scratch.traces(), before, "{stage}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_took_is_taken_back() {
    let scratch = Scratch::new();
    let mut creation = Box::pin(scratch.create("fix/foo"));
    let note = |scratch: &Scratch| {
        let found = std::fs::read_dir(scratch.root.join("home/worktrees")).ok()?.flatten().next()?;
        let made = scratch.project().join(".git/worktrees/fix-foo/paseo.json").exists();
        (made && !found.path().join(".making-fix-foo.json").exists()).then_some(())
    };
    // Polled until it has been sent to its owner, and then no more.
    while note(&scratch).is_none() {
        if !scratch.root.join("home").exists() {
            let _ = creation.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        tokio::task::yield_now().await;
    }
    drop(creation);
    assert!(scratch.create("fix/foo").await.expect("made").created, "the first one is gone");
}

#[tokio::test]
async fn a_failed_checkout_leaves_nothing() {
    let scratch = Scratch::new();
    scratch.write(".gitattributes", "*.x filter=broken\n");
    scratch.write("a.x", "content\n");
    scratch.commit("filtered");
    scratch.git(&["config", "filter.broken.smudge", "false"]);
    scratch.git(&["config", "filter.broken.clean", "cat"]);
    scratch.git(&["config", "filter.broken.required", "true"]);
    let before = scratch.traces();
    let error = scratch.create("fix/foo").await.expect_err("the filter fails");
    assert!(error.message.contains("fix/foo"), "{}", error.message);
    assert_eq!(scratch.traces(), before);
    scratch.git(&["config", "filter.broken.smudge", "cat"]);
    scratch.assert_sound(&scratch.create("fix/foo").await.expect("made"));
}

/// Takes a finished worktree back to how a daemon that died leaves it.
async fn cut_short(scratch: &Scratch, what: &str) -> String {
    let made = scratch.create("fix/foo").await.expect("made");
    let admin = scratch.project().join(".git/worktrees/fix-foo");
    let path = Path::new(&made.worktree_path);
    let mark = path.with_file_name(".making-fix-foo.json");
    let log = scratch.project().join(".git/logs/refs/heads/fix/foo");
    let entry = std::fs::read(&log).expect("a reflog");
    match what {
        "unmarked only in memory" => drop(std::fs::copy(admin.join("paseo.json"), &mark).expect("copied")),
        _ => std::fs::rename(admin.join("paseo.json"), &mark).expect("moved"),
    }
    match what {
        "branch" => drop(scratch.git(&["worktree", "remove", "--force", &made.worktree_path])),
        "half a mark" => {
            scratch.git(&["worktree", "remove", "--force", &made.worktree_path]);
            scratch.git(&["branch", "-D", "fix/foo"]);
            std::fs::rename(&mark, mark.with_extension("new")).expect("moved");
        }
        "lock of the branch" => {
            scratch.git(&["worktree", "remove", "--force", &made.worktree_path]);
            scratch.git(&["branch", "-D", "fix/foo"]);
            let lock = scratch.project().join(".git/refs/heads/fix/foo.lock");
            std::fs::create_dir_all(lock.parent().expect("a parent")).expect("made");
            std::fs::write(lock, "").expect("locked");
            std::fs::create_dir_all(log.parent().expect("a parent")).expect("made");
            std::fs::write(&log, entry).expect("logged");
        }
        "in the middle" => {
            std::fs::remove_file(admin.join("index")).expect("no index yet");
            std::fs::remove_file(path.join("README.md")).expect("not there yet");
            std::fs::write(admin.join("locked"), "initializing\n").expect("locked");
        }
        "empty directory" => {
            scratch.git(&["worktree", "remove", "--force", &made.worktree_path]);
            std::fs::create_dir_all(&admin).expect("reserved");
            std::fs::create_dir(path).expect("made");
        }
        "half deleted" => {
            std::fs::rename(path, path.with_file_name(".removing-fix-foo")).expect("moved away");
            std::fs::remove_file(admin.join("HEAD")).expect("deleted");
        }
        _ => {}
    }
    made.worktree_path
}

#[tokio::test]
async fn what_a_daemon_that_died_had_begun_goes_at_the_next_use() {
    for what in
        ["lock of the branch", "branch", "in the middle", "empty directory", "whole but without a note", "half deleted"]
    {
        let scratch = Scratch::new();
        let before = scratch.traces();
        cut_short(&scratch, what).await;
        let next = worktrees(&scratch.root);
        let listed = next.list(Some(&scratch.project()), false).await.expect("listed");
        assert!(listed.is_empty(), "{what}: {listed:?}");
        assert_eq!(scratch.traces(), before, "{what}");
        assert!(!scratch.project().join(".git/logs/refs/heads/fix/foo").exists(), "{what}");

        cut_short(&scratch, what).await;
        let next = worktrees(&scratch.root);
        let made = next.create(&branch_off("fix/foo"), &scratch.project()).await.expect(what);
        assert!(made.created, "{what}");
        assert_eq!(made.worktree_slug, "fix-foo");
        scratch.assert_sound(&made);
    }
}

#[tokio::test]
async fn a_lock_that_another_program_holds_stays() {
    let scratch = Scratch::new();
    let lock = scratch.project().join(".git/refs/heads/fix/foo.lock");
    std::fs::create_dir_all(lock.parent().expect("a parent")).expect("made");
    std::fs::write(&lock, "").expect("locked");
    refused(scratch.create("fix/foo").await, Code::Conflict, "cannot be made");
    assert!(lock.exists());
    std::fs::remove_file(&lock).expect("unlocked");
    assert!(scratch.create("fix/foo").await.expect("made").created);
}

#[tokio::test]
async fn a_worktree_whose_mark_outlived_its_daemon_stays() {
    let scratch = Scratch::new();
    let path = cut_short(&scratch, "unmarked only in memory").await;
    let next = worktrees(&scratch.root);
    let listed = next.list(Some(&scratch.project()), false).await.expect("listed");
    assert_eq!(listed.len(), 1);
    assert!(!Path::new(&path).with_file_name(".making-fix-foo.json").exists());
    assert!(!next.create(&branch_off("fix/foo"), &scratch.project()).await.expect("found").created);
}

#[tokio::test]
async fn a_branch_that_only_has_the_name_of_a_half_made_one_stays() {
    let scratch = Scratch::new();
    cut_short(&scratch, "branch").await;
    scratch.git(&["branch", "-D", "fix/foo"]);
    scratch.git(&["branch", "fix/foo"]);
    let next = worktrees(&scratch.root);
    next.list(Some(&scratch.project()), false).await.expect("listed");
    assert_eq!(scratch.git(&["branch", "--list", "--format=%(refname:short)", "fix/foo"]), "fix/foo");
    let again = next.create(&branch_off("fix/foo"), &scratch.project()).await;
    refused(again, Code::Conflict, "exists already");
}

#[tokio::test]
async fn a_directory_that_is_not_paseos_is_never_removed() {
    let scratch = Scratch::new();
    let path = cut_short(&scratch, "branch").await;
    std::fs::create_dir(&path).expect("made");
    std::fs::write(Path::new(&path).join("precious"), "work").expect("written");
    let next = worktrees(&scratch.root);
    next.list(Some(&scratch.project()), false).await.expect("listed");
    let made = next.create(&branch_off("fix/bar"), &scratch.project()).await.expect("others are not in its way");
    scratch.assert_sound(&made);
    assert!(Path::new(&path).join("precious").exists());
}
