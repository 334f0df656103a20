//! Partial clones: only what is needed is fetched, before it is needed; and where that cannot be, nothing has happened.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::task::{Context, Waker};

use paseo_daemon::worktrees::Worktrees;
use paseo_sdk::catalogue::CreateWorktree;
use paseo_sdk::model::{ListedWorktree, SetupStatus, Worktree};
use paseo_sdk::{ApiError, Code};

use super::archive::{assert_gone, commit, put};
use super::portrait::{Portrait, git, git_line};
use super::{Scratch, branch_off, checkout, field, pull_request, refused};

/// A partial clone without a checkout, of a repository with some history, and its remote.
fn partial_clone(filter: &str) -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    for number in 0..3 {
        scratch.write("file", &format!("{number}\n"));
        scratch.write("deep/er/file", &format!("deep {number}\n"));
        scratch.write("out/side", &format!("outside {number}\n"));
        scratch.write("paseo.json", &format!(r#"{{ "worktree": {{ "setup": "echo {number} > set-up.log" }} }}"#));
        scratch.write(".gitignore", &format!("# {number}\n*.log\n"));
        scratch.write(".gitattributes", &format!("# {number}\n*.crlf text=auto eol=crlf\n"));
        scratch.write("dos.crlf", &format!("{number}\n"));
        scratch.commit("one more");
    }
    scratch.git(&["branch", "topic", "main~1"]);
    scratch.git(&["tag", "v1", "main~2"]);
    let origin = scratch.bare("origin");
    scratch.git(&["push", "--quiet", "--mirror", origin.to_str().expect("UTF-8")]);
    for name in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"] {
        scratch.git_in(&origin, &["config", name, "true"]);
    }
    std::fs::remove_dir_all(scratch.project()).expect("removed");
    let address = format!("file://{}", origin.display());
    let filter = format!("--filter={filter}");
    scratch.git_in(&scratch.root, &["clone", "--quiet", "--no-checkout", &filter, &address, "project"]);
    scratch.publish(&origin, "topic", "proposed", "refs/pull/7/head");
    (scratch, origin)
}

impl Scratch {
    /// Returns the files that are here, of whichever commit.
    fn blobs(&self) -> BTreeSet<String> {
        let all = ["cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectname)"];
        let all = self.git_alone(self.project(), &all);
        all.lines().filter_map(|line| line.strip_prefix("blob ")).map(str::to_owned).collect()
    }

    /// Runs git in a directory where it may not fetch what it lacks.
    #[track_caller]
    fn git_alone(&self, directory: impl AsRef<Path>, args: &[&str]) -> String {
        let output = self.command(directory.as_ref(), args).env("GIT_NO_LAZY_FETCH", "1").output();
        let output = output.expect("git can be run");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    async fn list_here(&self) -> Vec<ListedWorktree> {
        self.worktrees.list(Some(&self.project()), false).await.expect("listed")
    }
}

/// Has a remote away while something is tried.
async fn without<T>(remote: &Path, tried: impl Future<Output = T>) -> T {
    let away = remote.with_extension("away");
    std::fs::rename(remote, &away).expect("moved");
    let result = tried.await;
    std::fs::rename(&away, remote).expect("moved back");
    result
}

/// Checks that something failed since what it needs could not be fetched.
#[track_caller]
fn lacks(result: Result<Worktree, ApiError>, words: &str) {
    let error = refused(result, Code::Unavailable, words);
    assert!(error.message.contains("this partial clone lacks"), "{error:?}");
    assert_eq!(field(&error), "cwd");
}

#[tokio::test]
async fn every_mode_fetches_what_it_checks_out_and_no_more() {
    for filter in FILTERS {
        for (request, content) in [
            (branch_off("fix/foo"), "2\n"),
            (CreateWorktree { fetch: true, ..branch_off("fix/foo") }, "2\n"),
            (checkout("origin/topic"), "1\n"),
            (checkout("v1"), "0\n"),
            (pull_request(7), "1\n"),
        ] {
            let (scratch, _) = partial_clone(filter);
            assert_eq!(scratch.blobs(), BTreeSet::new());
            let made = scratch.worktrees.create(&request, &scratch.project()).await.expect("made");
            let tree = &PathBuf::from(&made.worktree_path);
            let mut needed: BTreeSet<_> = scratch
                .git_alone(tree, &["ls-tree", "-r", "--format=%(objectname)", "HEAD"])
                .lines()
                .map(str::to_owned)
                .collect();
            // The setup of a pull request is that of its base.
            let base = made.base_commit.as_ref().expect("a base");
            needed.insert(scratch.git_alone(tree, &["rev-parse", &format!("{base}:paseo.json")]));
            assert_eq!(scratch.blobs(), needed, "{filter} {request:?}");
            assert_eq!(std::fs::read_to_string(tree.join("file")).expect("there"), content);
            assert_eq!(std::fs::read_to_string(tree.join("dos.crlf")).expect("there"), content.replace('\n', "\r\n"));
            assert_eq!(scratch.git_alone(tree, &["status", "--porcelain"]), "");
            let made = match made.trusted {
                true => made,
                false => {
                    let place = scratch.worktrees.find(Some(&made.worktree_path), None, None).await.expect("found");
                    scratch.worktrees.trust(&place, true).await.expect("trusted")
                }
            };
            assert_eq!(made.setup.status, SetupStatus::Done, "{:?}", made.setup);
            assert!(tree.join("set-up.log").exists(), "what the base asks for was there to be read");
            let listed = scratch.list_here().await;
            assert!(listed[0].ahead.is_some() && listed[0].behind.is_some());
            assert_eq!((listed[0].dirty, &listed[0].problem), (false, &None));
            scratch.assert_sound(&made);
        }
    }
}

#[tokio::test]
async fn many_at_once_succeed() {
    for filter in FILTERS {
        let (scratch, _) = partial_clone(filter);
        let project = scratch.project();
        let requests: Vec<_> = (0..8).map(|number| branch_off(&format!("fix/{number}"))).collect();
        let tasks = requests.into_iter().enumerate().map(|(number, request)| {
            let (worktrees, project) = (scratch.worktrees.clone(), project.clone());
            let base = ["main", "origin/topic", "v1", "main~1"][number % 4].to_owned();
            let request = CreateWorktree { base_branch: Some(base), ..request };
            tokio::spawn(async move { worktrees.create(&request, &project).await })
        });
        let mut all = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            all.push(task.await.expect("no panic").expect("made"));
        }
        for made in all {
            assert_eq!(made.setup.status, SetupStatus::Done, "{:?}", made.setup);
            scratch.assert_sound(&made);
        }
    }
}

#[tokio::test]
async fn where_it_cannot_be_fetched_that_is_said_and_nothing_is_left() {
    for filter in FILTERS {
        let (scratch, origin) = partial_clone(filter);
        let before = scratch.traces();
        let requests = [branch_off("fix/foo"), checkout("origin/topic"), checkout("v1")];
        for request in &requests {
            lacks(without(&origin, scratch.worktrees.create(request, &scratch.project())).await, "from origin: ");
            assert_eq!(scratch.traces(), before, "{filter}");
        }
        let env = [("PATH".to_owned(), scratch.root.display().to_string())].into();
        let without_git = Worktrees::with_env(scratch.root.join("home"), None, env);
        lacks(without_git.create(&requests[0], &scratch.project()).await, "`git` is not installed");
        assert_eq!(scratch.traces(), before, "{filter}");
        // Whoever gives it up while it is fetched leaves nothing either.
        let project = scratch.project();
        for polls in [1, 10, 100, 1000] {
            let mut creation = Box::pin(scratch.worktrees.create(&requests[0], &project));
            for _ in 0..polls {
                let _ = creation.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                tokio::task::yield_now().await;
            }
            drop(creation);
            // The next one waits for its end.
            let other = scratch.worktrees.create(&requests[2], &scratch.project()).await.expect("made");
            scratch.worktrees.roll_back(&other).await.expect("rolled back");
            assert_eq!(scratch.traces(), before, "{filter}");
        }
        for request in &requests {
            scratch.assert_sound(&scratch.worktrees.create(request, &scratch.project()).await.expect("made"));
        }
    }
}

#[tokio::test]
async fn what_is_there_needs_no_remote_any_more() {
    for filter in FILTERS {
        let (scratch, origin) = partial_clone(filter);
        let made = scratch.create("fix/foo").await.expect("made");
        // A newer commit of the base is here without its files.
        scratch.publish(&origin, "main", "news", "refs/heads/main");
        scratch.git(&["fetch", "--quiet"]);
        scratch.git(&["update-ref", "refs/heads/main", "origin/main"]);
        let tree = Path::new(&made.worktree_path);
        without(&origin, async {
            assert!(!scratch.create("fix/foo").await.expect("it is there").created);
            commit(tree, "mine");
            put(tree, "file", "changed\n");
            put(tree, "dos.crlf", "changed\r\n");
            put(tree, "deep/new", "new\n");
            std::fs::remove_file(tree.join("out/side")).expect("removed");
            let listed = scratch.list_here().await;
            let seen = (listed[0].dirty, listed[0].ahead, listed[0].behind, &listed[0].problem);
            assert_eq!(seen, (true, Some(1), Some(1), &None));
            let error = scratch.archive("fix-foo", false).await.expect_err("it has changes");
            assert_eq!(error.code, Code::Refused, "{error:?}");
            let before = Portrait::of(tree);
            let archived = scratch.archive("fix-foo", true).await.expect("archived");
            assert_eq!((archived.kept_commits, archived.kept_files), (1, 4));
            assert_gone(&scratch, tree, &archived);
            let restored = scratch.restore("fix-foo").await.expect("restored");
            before.assert_same(&Portrait::of(Path::new(&restored.worktree_path)), filter);
        })
        .await;
    }
}

#[tokio::test]
async fn a_head_whose_directories_are_not_here_is_archived_once_they_are() {
    let (scratch, origin) = partial_clone("tree:0");
    let tree = scratch.tree("fix/foo").await;
    let v1 = git_line(&scratch.project(), &["rev-parse", "v1"]);
    std::fs::write(scratch.project().join(".git/refs/heads/fix/foo"), format!("{v1}\n")).expect("moved");
    let listed = scratch.list_here().await;
    assert!(listed[0].dirty, "nobody knows");
    assert!(listed[0].problem.as_ref().is_some_and(|why| why.contains("`git status` there fetches")), "{listed:?}");
    for force in [false, true] {
        let error = without(&origin, scratch.archive("fix-foo", force)).await.expect_err("it cannot be compared");
        assert!(error.code == Code::Unavailable && error.message.contains("this partial clone lacks"), "{error:?}");
        assert!(tree.join("file").exists());
    }
    let error = scratch.archive("fix-foo", false).await.expect_err("it differs from its head");
    assert_eq!(error.code, Code::Refused, "{error:?}");
    assert_eq!(scratch.list_here().await[0].problem, None);
    let before = Portrait::of(&tree);
    let archived = scratch.archive("fix-foo", true).await.expect("archived");
    assert_gone(&scratch, &tree, &archived);
    scratch.restore("fix-foo").await.expect("restored");
    before.assert_same(&Portrait::of(&tree), "after it came back");
}

#[tokio::test]
async fn an_index_that_has_what_is_not_here_is_archived_too() {
    for filter in FILTERS {
        let (scratch, origin) = partial_clone(filter);
        let tree = scratch.tree("fix/foo").await;
        git(&tree, &["read-tree", "v1"]);
        std::fs::remove_file(tree.join("file")).expect("removed");
        let error = without(&origin, scratch.archive("fix-foo", true)).await.expect_err("it cannot be compared");
        assert!(error.code == Code::Unavailable && error.message.contains("this partial clone lacks"), "{error:?}");
        assert!(tree.exists());
        let archived = scratch.archive("fix-foo", true).await.expect("archived");
        assert_gone(&scratch, &tree, &archived);
        without(&origin, scratch.restore("fix-foo")).await.expect("restored");
        let status = scratch.git_alone(&tree, &["status", "--short"]);
        assert!(status.contains("MM dos.crlf") && status.contains("MD file"), "{status}");
    }
}

#[tokio::test]
async fn an_archive_whose_files_went_comes_back_with_those_of_the_remote() {
    for filter in FILTERS {
        let (scratch, origin) = partial_clone(filter);
        let packs = scratch.project().join(".git/objects/pack");
        let names = || -> BTreeSet<_> {
            std::fs::read_dir(&packs).expect("packs").flatten().map(|pack| pack.file_name()).collect()
        };
        let before = names();
        let made = scratch.create("fix/foo").await.expect("made");
        let tree = Path::new(&made.worktree_path);
        put(tree, "file", "changed\n");
        let portrait = Portrait::of(tree);
        scratch.archive("fix-foo", true).await.expect("archived");
        // As somebody does who filters the clone once more.
        for name in names().difference(&before) {
            std::fs::remove_file(packs.join(name)).expect("removed");
        }
        let traces = scratch.traces();
        lacks(without(&origin, scratch.restore("fix-foo")).await, "from origin: ");
        assert_eq!(scratch.traces(), traces, "the archive is where it was");
        scratch.restore("fix-foo").await.expect("restored");
        portrait.assert_same(&Portrait::of(tree), filter);
    }
}

#[tokio::test]
async fn a_sparse_worktree_of_a_partial_clone_fetches_no_more_than_it_has() {
    for (mode, patterns) in [("--cone", &["deep"][..]), ("--no-cone", &["/deep/"][..])] {
        for filter in FILTERS {
            let (scratch, origin) = partial_clone(filter);
            scratch.git(&[&["sparse-checkout", "set", mode], patterns].concat());
            let made = scratch.create("fix/foo").await.expect("made");
            let tree = Path::new(&made.worktree_path);
            assert!(tree.join("deep/er/file").exists() && !tree.join("out").exists());
            let outside = scratch.git_alone(tree, &["rev-parse", "HEAD:out/side"]);
            assert!(!scratch.blobs().contains(&outside), "{mode} {filter}");
            assert_eq!(made.setup.status, SetupStatus::Done, "{:?}", made.setup);
            without(&origin, async {
                let listed = scratch.list_here().await;
                assert_eq!((listed[0].dirty, &listed[0].problem), (false, &None), "{mode} {filter}");
                put(tree, "deep/er/file", "changed\n");
                let before = Portrait::of(tree);
                let archived = scratch.archive("fix-foo", true).await.expect("archived");
                assert_gone(&scratch, tree, &archived);
                scratch.restore("fix-foo").await.expect("restored");
                before.assert_same(&Portrait::of(tree), mode);
            })
            .await;
        }
    }
}

const FILTERS: [&str; 2] = ["blob:none", "tree:0"];
