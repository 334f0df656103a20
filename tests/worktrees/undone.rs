//! Every mode does all or nothing: dropped, failed, and many at once.

use std::collections::BTreeSet;
use std::future::Future as _;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use paseo_sdk::Code;
use paseo_sdk::catalogue::CreateWorktree;

use super::{Scratch, branch_off, checkout, pull_request, refused};

/// A repository in which every mode has something to check out that is not small, and what is asked for.
fn every_mode() -> (Scratch, Vec<(CreateWorktree, &'static str)>) {
    let scratch = Scratch::new();
    for number in 0..300 {
        scratch.write(&format!("many/{number}"), "content\n");
    }
    scratch.commit("many files");
    scratch.git(&["tag", "v1"]);
    scratch.git(&["branch", "there"]);
    let origin = scratch.remote("origin");
    scratch.publish(&origin, "main", "proposed", "refs/pull/7/head");
    scratch.publish(&origin, "main", "followed", "refs/heads/deep/followed");
    scratch.git(&["fetch", "--quiet", "origin"]);
    std::fs::remove_file(scratch.project().join(".git/FETCH_HEAD")).expect("git has fetched");
    let fetched = CreateWorktree { fetch: true, ..branch_off("fetched") };
    let requests = vec![
        (fetched, "fetched"),
        (checkout("there"), "there"),
        (checkout("deep/followed"), "deep-followed"),
        (checkout("v1"), "v1"),
        (pull_request(7), "pr-7"),
    ];
    (scratch, requests)
}

#[tokio::test]
async fn a_request_of_any_mode_dropped_at_any_time_leaves_nothing() {
    let (scratch, requests) = every_mode();
    let before = scratch.traces();
    let (project, git) = (scratch.project(), scratch.project().join(".git"));
    for (request, slug) in &requests {
        let stages = ["asked", "looked", "fetching", "marked", "branch", "configured", "registered", "files", "noted"];
        for stage in stages {
            let home = || std::fs::read_dir(scratch.root.join("home/worktrees")).ok()?.flatten().next();
            let in_home = |name: &str| home().is_some_and(|home| home.path().join(name).exists());
            let set = || std::fs::read_to_string(git.join("config")).is_ok_and(|text| text.contains("[branch "));
            let mut polls = 0;
            let mut reached = || {
                polls += 1;
                match stage {
                    "asked" => true,
                    "looked" => polls > 3,
                    "fetching" => polls > 300,
                    "marked" => in_home(&format!(".making-{slug}.json")),
                    "branch" => git.join("logs/refs/heads").join(slug).exists(),
                    "configured" => set(),
                    "registered" => git.join("worktrees").exists(),
                    "files" => in_home(&format!("{slug}/many")),
                    _ => git.join("worktrees").join(slug).join("paseo.json").exists(),
                }
            };
            let mut creation = Box::pin(scratch.worktrees.create(request, &project));
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
            // Nobody else fetches, and the owner does nothing else, before what was begun is over.
            let other = CreateWorktree { fetch: true, ..branch_off("other") };
            let other = scratch.worktrees.create(&other, &scratch.project()).await.expect("made");
            scratch.worktrees.roll_back(&other).await.expect("rolled back");
            assert_eq!(scratch.traces(), before, "{slug} at `{stage}`");
        }
    }
    for (request, slug) in &requests {
        let made = scratch.worktrees.create(request, &scratch.project()).await.expect("made");
        assert_eq!((made.created, made.worktree_slug.as_str()), (true, *slug));
        scratch.assert_sound(&made);
    }
}

#[tokio::test]
async fn a_step_that_fails_in_any_mode_leaves_nothing() {
    let (scratch, requests) = every_mode();
    scratch.git(&["config", "core.attributesFile", scratch.root.join("attributes").to_str().expect("UTF-8")]);
    std::fs::write(scratch.root.join("attributes"), "many/* filter=broken\n").expect("written");
    scratch.git(&["config", "filter.broken.smudge", "false"]);
    scratch.git(&["config", "filter.broken.clean", "cat"]);
    scratch.git(&["config", "filter.broken.required", "true"]);
    let before = scratch.traces();
    for (request, slug) in &requests {
        let error = scratch.worktrees.create(request, &scratch.project()).await.expect_err("the filter fails");
        assert!(error.message.contains("cannot check out"), "{slug}: {}", error.message);
        assert_eq!(scratch.traces(), before, "{slug}");
    }
    scratch.git(&["config", "filter.broken.smudge", "cat"]);
    let before = scratch.traces();
    // Another program is changing the configuration: what follows a remote cannot be made.
    let lock = scratch.project().join(".git/config.lock");
    for (request, slug) in &requests {
        std::fs::write(&lock, "").expect("locked");
        let result = scratch.worktrees.create(request, &scratch.project()).await;
        assert!(lock.exists(), "{slug}: it is not ours");
        std::fs::remove_file(&lock).expect("unlocked");
        match *slug {
            "deep-followed" | "pr-7" => {
                let error = result.expect_err("the configuration is locked");
                assert!(error.message.contains("configuration"), "{slug}: {}", error.message);
            }
            _ => scratch.worktrees.roll_back(&result.expect("made")).await.expect("rolled back"),
        }
        assert_eq!(scratch.traces(), before, "{slug}");
    }
    for (request, _) in &requests {
        scratch.assert_sound(&scratch.worktrees.create(request, &scratch.project()).await.expect("made"));
    }
}

#[tokio::test]
async fn what_was_set_for_the_name_of_a_branch_stays_when_that_was_never_made() {
    let (scratch, _) = every_mode();
    scratch.git(&["config", "branch.pr-7.description", "mine"]);
    scratch.git(&["config", "branch.new.description", "mine"]);
    let before = scratch.traces();
    for (request, branch) in [(pull_request(7), "pr-7"), (branch_off("new"), "new")] {
        let lock = scratch.project().join(format!(".git/refs/heads/{branch}.lock"));
        std::fs::write(&lock, "").expect("locked");
        let result = scratch.worktrees.create(&request, &scratch.project()).await;
        refused(result, Code::Conflict, "cannot be made");
        std::fs::remove_file(&lock).expect("unlocked");
        assert_eq!(scratch.traces(), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_at_once_all_succeed() {
    let scratch = Scratch::new();
    let origin = scratch.remote("origin");
    for number in 1..=5 {
        scratch.publish(&origin, "main", "proposed", &format!("refs/pull/{number}/head"));
        scratch.publish(&origin, "main", "followed", &format!("refs/heads/remote/{number}"));
        scratch.git(&["branch", &format!("there/{number}")]);
        scratch.git(&["tag", &format!("v{number}"), &scratch.commit("tagged")]);
    }
    let scratch = Arc::new(scratch);
    let requests = (0..50).map(|number| match number {
        // Names that have the same slug, and every other mode among them.
        0..15 => branch_off(&format!("same/{}name", "_".repeat(number))),
        15..30 => branch_off(&format!("parallel/{number}")),
        30..35 => checkout(&format!("there/{}", number - 29)),
        35..40 => CreateWorktree { fetch: true, ..checkout(&format!("origin/remote/{}", number - 34)) },
        40..45 => checkout(&format!("v{}", number - 39)),
        _ => pull_request(i64::try_from(number - 44).expect("small")),
    });
    let tasks: Vec<_> = requests
        .map(|request| {
            let scratch = scratch.clone();
            tokio::spawn(async move { scratch.worktrees.create(&request, &scratch.project()).await })
        })
        .collect();
    let mut made = Vec::new();
    for task in tasks {
        made.push(task.await.expect("no panic").expect("made"));
    }
    // After the last one: git itself cannot read a registration that is just being written.
    for worktree in &made {
        assert!(worktree.created);
        scratch.assert_sound(worktree);
    }
    assert_eq!(made.iter().map(|worktree| &worktree.worktree_path).collect::<BTreeSet<_>>().len(), 50);
    let slugs: BTreeSet<_> = made.iter().map(|worktree| worktree.worktree_slug.as_str()).collect();
    assert!(slugs.contains("same-name") && slugs.contains("same-name-15"), "{slugs:?}");
    assert_eq!(scratch.list().await.len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_at_once_gives_one_tree_in_every_mode() {
    let (scratch, requests) = every_mode();
    let scratch = Arc::new(scratch);
    for (request, slug) in requests {
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (scratch, request) = (scratch.clone(), request.clone());
                tokio::spawn(async move { scratch.worktrees.create(&request, &scratch.project()).await })
            })
            .collect();
        let mut made = Vec::new();
        for task in tasks {
            made.push(task.await.expect("no panic").expect("made or found"));
        }
        assert_eq!(made.iter().filter(|worktree| worktree.created).count(), 1, "{slug}");
        assert!(made.iter().all(|worktree| worktree.worktree_path == made[0].worktree_path), "{slug}");
        scratch.assert_sound(&made[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_name_from_two_bases_gives_one_tree_and_one_conflict() {
    let scratch = Arc::new(Scratch::new());
    scratch.git(&["branch", "develop"]);
    let tasks: Vec<_> = ["main", "develop"]
        .into_iter()
        .map(|base| {
            let scratch = scratch.clone();
            tokio::spawn(async move { (base, scratch.create_from("same", Some(base)).await) })
        })
        .collect();
    let (mut made, mut refusals) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.expect("no panic") {
            (base, Ok(worktree)) => made.push((base, worktree)),
            (base, Err(error)) => refusals.push((base, error)),
        }
    }
    let ([(base, worktree)], [(other, error)]) = (&made[..], &refusals[..]) else {
        panic!("one of each: {made:?} {refusals:?}")
    };
    assert_eq!((&error.code, worktree.base_branch.as_deref()), (&Code::Conflict, Some(*base)));
    assert!(error.message.contains(&format!("came from `{base}`, not `{other}`")), "{}", error.message);
    assert!(error.message.contains(&worktree.worktree_path) && Path::new(&worktree.worktree_path).exists());
    scratch.assert_sound(worktree);
}
