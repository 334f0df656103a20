//! A daemon that is killed in any step of archiving or of bringing back: the worktree is there as it was, or it is archived
//! and comes back as it was.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use paseo_daemon::fault::Point;
use paseo_sdk::catalogue::{ArchiveWorktree, ListWorktrees, RestoreWorktree};
use paseo_sdk::{ApiError, Client, Code};

use super::archive::{commit, put};
use super::branch_off;
use super::portrait::{Portrait, git, git_line, try_git};
use crate::lab::{Lab, PASEO};

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_any_step_of_archiving_a_worktree_is_there_or_archived_and_nothing_between() {
    for point in [
        Point::WorktreeStep,
        Point::WorktreeStepDone,
        Point::WorktreeWritten,
        Point::WorktreeKept,
        Point::WorktreeForgetting,
        Point::WorktreeForgotten,
        Point::WorktreeBranchGone,
    ] {
        let story = Story::begin().await;
        let mut outcomes = Vec::new();
        for nth in 1.. {
            if !story.killed_at(point, nth, Way::Out).await {
                break;
            }
            outcomes.push(story.judge(&format!("archiving, {}:{nth}", point.name())).await);
        }
        match point {
            // Early enough nothing has happened, and late enough all has.
            Point::WorktreeStep | Point::WorktreeStepDone => {
                assert!(outcomes.contains(&Where::InPlace) && outcomes.contains(&Where::Archived), "{outcomes:?}");
            }
            _ => {
                assert!(!outcomes.is_empty() && outcomes.iter().all(|found| *found == Where::Archived), "{outcomes:?}")
            }
        }
        story.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_any_step_of_bringing_back_a_worktree_is_there_or_archived_and_nothing_between() {
    for point in [Point::WorktreeStep, Point::WorktreeStepDone, Point::WorktreeRegistered, Point::WorktreeFilled] {
        let story = Story::begin().await;
        let mut outcomes = Vec::new();
        for nth in 1.. {
            story.archive().await;
            if !story.killed_at(point, nth, Way::Back).await {
                break;
            }
            outcomes.push(story.judge(&format!("bringing back, {}:{nth}", point.name())).await);
        }
        match point {
            Point::WorktreeStep | Point::WorktreeStepDone => {
                assert!(outcomes.contains(&Where::InPlace) && outcomes.contains(&Where::Archived), "{outcomes:?}");
            }
            _ => {
                assert!(!outcomes.is_empty() && outcomes.iter().all(|found| *found == Where::Archived), "{outcomes:?}")
            }
        }
        story.end().await;
    }
}

#[derive(Clone, Copy)]
enum Way {
    Out,
    Back,
}

/// Where a worktree is found after its daemon was killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    InPlace,
    Archived,
}

/// A worktree with work of every kind in it, and those who look after it.
struct Story {
    lab: Lab,
    tree: PathBuf,
    before: Portrait,
}

impl Story {
    async fn begin() -> Story {
        let mut lab = Lab::new();
        // A user without a name: git would refuse to commit for them.
        lab.set_env([
            ("HOME".to_owned(), lab.path("nobody").display().to_string()),
            ("GIT_CONFIG_NOSYSTEM".to_owned(), "1".to_owned()),
        ]);
        let project = lab.work();
        git(&project, &["init", "--quiet", "--initial-branch=main"]);
        for name in ["one", "two", "three"] {
            commit(&project, name);
        }
        let daemon = lab.process();
        let client = lab.client();
        let create = branch_off("fix/foo").cwd(project.display().to_string());
        let made = client.create_worktree(create).await.expect("made");
        daemon.kill();
        let tree = PathBuf::from(made.worktree_path);
        commit(&tree, "committed");
        git(&tree, &["branch", "--quiet", "--set-upstream-to=main"]);
        put(&tree, "one", "changed\n");
        put(&tree, "two", "staged\n");
        git(&tree, &["add", "two"]);
        put(&tree, "two", "and changed\n");
        std::fs::remove_file(tree.join("three")).expect("removed");
        put(&tree, "new/untracked", "new\n");
        let before = Portrait::of(&tree);
        Story { lab, tree, before }
    }

    fn project(&self) -> PathBuf {
        self.lab.work()
    }

    async fn ask(&self, client: &Client, way: Way) -> Result<(), ApiError> {
        let cwd = Some(self.project().display().to_string());
        match way {
            Way::Out => {
                let request = ArchiveWorktree {
                    worktree_slug: Some("fix-foo".to_owned()),
                    cwd,
                    force: true,
                    ..ArchiveWorktree::default()
                };
                client.archive_worktree(request).await.map(drop)
            }
            Way::Back => {
                let request =
                    RestoreWorktree { worktree_slug: "fix-foo".to_owned(), cwd, ..RestoreWorktree::default() };
                client.restore_worktree(request).await.map(drop)
            }
        }
    }

    /// Archives the worktree with a daemon that nobody kills.
    async fn archive(&self) {
        let daemon = self.lab.process();
        self.ask(&self.lab.client(), Way::Out).await.expect("it can be archived");
        daemon.kill();
    }

    /// Has it done by a daemon that is killed when it passes this point for the nth time; returns whether it was.
    async fn killed_at(&self, point: Point, nth: u32, way: Way) -> bool {
        let mut command = self.lab.command(Path::new(PASEO));
        command.env("PASEO_TEST_FAULT", format!("{}:{nth}", point.name()));
        let daemon = self.lab.process_by(command);
        let client = self.lab.client();
        // A client asks for what it may ask for twice until there is a daemon again.
        let answer = tokio::select! {
            answer = self.ask(&client, way) => answer,
            () = crate::lab::ended(daemon.pid()) => Err(ApiError::new(Code::Unavailable, "it is gone")),
        };
        match answer {
            Ok(()) => {
                daemon.kill();
                false
            }
            Err(error) => {
                assert_eq!(error.code, Code::Unavailable, "{error:?}");
                assert_eq!(daemon.ended(), None, "it was killed");
                true
            }
        }
    }

    /// Starts the next daemon and finds out where the worktree is; in the end it is in its place.
    async fn judge(&self, when: &str) -> Where {
        let daemon = self.lab.process();
        let client = self.lab.client();
        // Nobody names the repository: the daemon finds by itself what is to be brought to its end, and does it meanwhile.
        let everywhere = ListWorktrees { all: true, ..ListWorktrees::default() };
        for _ in 0..1_000 {
            client.list_worktrees(everywhere.clone()).await.expect("a list");
            if self.beside().is_empty() {
                break;
            }
        }
        let list = ListWorktrees { cwd: Some(self.project().display().to_string()), ..ListWorktrees::default() };
        let listed = client.list_worktrees(list).await.expect("a list").worktrees;
        let beside = self.beside();
        assert!(beside.is_empty(), "{when}: {beside:?} is left");
        let there = |name: &str| {
            try_git(&self.project(), &["show-ref".as_ref(), "--verify".as_ref(), name.as_ref()]).status.success()
        };
        let archived = there("refs/paseo/archive/fix-foo");
        let registered = git_line(&self.project(), &["worktree", "list", "--porcelain"]).contains("fix-foo");
        let found = (self.tree.exists(), registered, there("refs/heads/fix/foo"), listed.len() == 1, archived);
        let place = match found {
            (true, true, true, true, false) => Where::InPlace,
            (false, false, false, false, true) => Where::Archived,
            other => panic!("{when}: tree, registration, branch, list, archive: {other:?}"),
        };
        if place == Where::Archived {
            assert!(!self.project().join(".git/worktrees").exists(), "{when}: nothing is registered");
            git(&self.project(), &["gc", "--quiet", "--prune=now"]);
            self.ask(&client, Way::Back).await.unwrap_or_else(|error| panic!("{when}: it comes back: {error:?}"));
        }
        self.before.assert_same(&Portrait::of(&self.tree), when);
        assert_eq!(git(&self.project(), &["fsck", "--strict", "--no-dangling", "--no-progress"]), b"", "{when}");
        daemon.kill();
        place
    }

    /// What is beside the tree.
    fn beside(&self) -> Vec<OsString> {
        let beside = std::fs::read_dir(self.tree.parent().expect("a parent")).into_iter().flatten().flatten();
        beside.map(|entry| entry.file_name()).filter(|name| *name != "fix-foo").collect()
    }

    async fn end(self) {
        let _daemon = self.lab.process();
        let client = self.lab.client();
        self.lab.end(&client).await;
    }
}
