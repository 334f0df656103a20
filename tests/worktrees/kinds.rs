//! Repositories of every kind, and what stands in the way of a worktree.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use paseo_sdk::Code;
use paseo_sdk::catalogue::CreateWorktree;
use paseo_sdk::model::SetupStatus;

use super::{Scratch, branch_off, checkout, field, pull_request, refused, walk};

impl Scratch {
    /// Makes a worktree as git does, to compare.
    fn as_git_does(&self, branch: &str) -> PathBuf {
        let path = self.root.join("as-git-does");
        self.git(&["worktree", "add", "--quiet", "-b", branch, path.to_str().expect("UTF-8"), "main"]);
        path
    }

    fn clone_as(&self, name: &str, args: &[&str]) -> PathBuf {
        let address = format!("file://{}", self.project().display());
        let args = [&["clone", "--quiet"], args, &[&address, name]].concat();
        self.git_in(&self.root, &args);
        self.root.join(name)
    }
}

/// Returns the paths in a worktree, from there, without what is git's.
fn files(tree: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    walk(tree, &mut files);
    let mut files: Vec<_> = files.iter().map(|path| path.strip_prefix(tree).expect("below").to_owned()).collect();
    files.retain(|path| path != Path::new(".git"));
    files.sort();
    files
}

#[tokio::test]
async fn a_bare_repository_has_worktrees_like_any_other() {
    for layout in ["app.git", "app/.bare", "app/.git"] {
        let scratch = Scratch::new();
        scratch.write(
            "paseo.json",
            r#"{"worktree": {"setup": "printf %s \"$PASEO_SOURCE_CHECKOUT_PATH\" > \"$HOME/where\""}}"#,
        );
        let head = scratch.commit("with a setup");
        scratch.git(&["tag", "v1"]);
        let bare = scratch.root.join(layout);
        let (project, bare_name) = (scratch.project(), bare.to_str().expect("UTF-8").to_owned());
        scratch.git_in(&scratch.root, &["clone", "--quiet", "--bare", project.to_str().expect("UTF-8"), &bare_name]);
        assert_eq!(scratch.git_in(&bare, &["config", "core.bare"]), "true");
        let mut within = vec![bare.clone()];
        if layout == "app/.bare" {
            std::fs::write(scratch.root.join("app/.git"), "gitdir: ./.bare\n").expect("written");
            within.push(scratch.root.join("app"));
        }
        let theirs = scratch.root.join("theirs");
        scratch.git_in(&bare, &["worktree", "add", "--quiet", "-b", "theirs", theirs.to_str().expect("UTF-8")]);
        within.push(theirs.clone());
        let mut made = Vec::new();
        for (number, cwd) in within.iter().enumerate() {
            let tree = scratch.worktrees.create(&branch_off(&format!("b{number}")), cwd).await.expect(layout);
            assert_eq!((tree.base_branch.as_deref(), tree.base_commit.as_ref()), (Some("main"), Some(&head)));
            assert_eq!(tree.setup.status, SetupStatus::Done, "{:?}", tree.setup);
            assert_eq!(std::fs::read_to_string(scratch.root.join("where")).expect("it ran"), bare_name);
            scratch.assert_sound(&tree);
            made.push(tree);
        }
        let parent = Path::new(&made[0].worktree_path).parent().and_then(Path::file_name).expect("a parent");
        assert!(parent.to_string_lossy().starts_with("app"), "{parent:?}");
        // Its head is checked out nowhere, so that is free.
        for (asked, branch) in [("main", Some("main")), ("v1", None)] {
            let tree = scratch.worktrees.create(&checkout(asked), &bare).await.expect(asked);
            assert_eq!((tree.branch_name.as_deref(), tree.created), (branch, true));
            scratch.assert_sound(&tree);
            assert!(!scratch.worktrees.create(&checkout(asked), &theirs).await.expect("found").created);
            made.push(tree);
        }
        let origin = scratch.bare("origin");
        scratch.git_in(&bare, &["remote", "set-url", "origin", origin.to_str().expect("UTF-8")]);
        scratch.git_in(&bare, &["push", "--quiet", "origin", "main"]);
        let proposed = scratch.publish(&origin, "main", "proposed", "refs/pull/7/head");
        let tree = scratch.worktrees.create(&pull_request(7), &bare).await.expect("made");
        assert_eq!(scratch.commit_of(&tree.worktree_path, "HEAD"), proposed);
        scratch.assert_sound(&tree);
        made.push(tree);
        let error = scratch.worktrees.create(&checkout("theirs"), &bare).await;
        refused(error, Code::Conflict, "another worktree");

        for cwd in &within {
            let listed = scratch.worktrees.list(Some(cwd), false).await.expect("listed");
            assert_eq!(listed.len(), made.len() + 1);
            assert!(listed.iter().all(|tree| tree.problem.is_none() && tree.repository == bare_name), "{listed:?}");
        }
        assert_eq!(scratch.worktrees.list(None, true).await.expect("listed").len(), made.len() + 1);
        let places = scratch.worktrees.places(&bare).await.expect("read");
        assert!(made.iter().all(|tree| places.contains(&PathBuf::from(&tree.worktree_path))), "{places:?}");
        assert!(places.contains(&theirs));
        assert_eq!(scratch.worktrees.places(&theirs).await.expect("read"), [theirs.clone(), theirs.clone()]);
        let last = made.pop().expect("the pull request");
        scratch.worktrees.roll_back(&last).await.expect("rolled back");
        assert!(!Path::new(&last.worktree_path).exists());
        let tree = scratch.worktrees.create(&branch_off("taken/back"), &bare).await.expect("made");
        scratch.worktrees.roll_back(&tree).await.expect("rolled back");
        assert_eq!(scratch.git_in(&bare, &["branch", "--list", "taken/*", "pr-*"]), "");
    }
}

#[tokio::test]
async fn a_branch_that_a_bare_repository_only_points_to_goes_with_its_worktree() {
    let scratch = Scratch::new();
    let bare = scratch.bare("app");
    scratch.git(&["push", "--quiet", bare.to_str().expect("UTF-8"), "main:other"]);
    let made = scratch.worktrees.create(&CreateWorktree::branch_off("main", "other"), &bare).await.expect("made");
    scratch.assert_sound(&made);
    scratch.worktrees.roll_back(&made).await.expect("rolled back");
    assert_eq!(scratch.git_in(&bare, &["branch", "--format=%(refname:short)"]), "other");
    let empty = scratch.bare("empty");
    refused(scratch.worktrees.create(&branch_off("x"), &empty).await, Code::InvalidArgument, "no commit yet");
}

#[tokio::test]
async fn a_directory_that_is_there_keeps_its_name() {
    let scratch = Scratch::new();
    let first = scratch.create("first").await.expect("made");
    let parent = Path::new(&first.worktree_path).parent().expect("a parent");
    std::fs::create_dir(parent.join("empty")).expect("made");
    std::fs::create_dir(parent.join("full")).expect("made");
    std::fs::write(parent.join("full/precious"), "work").expect("written");
    std::fs::write(parent.join("file"), "work").expect("written");
    for name in ["empty", "full", "file"] {
        let made = scratch.create(name).await.expect(name);
        assert_eq!(made.worktree_slug, format!("{name}-2"));
        scratch.assert_sound(&made);
        let chosen = CreateWorktree { worktree_slug: Some(name.to_owned()), ..branch_off("x") };
        refused(scratch.worktrees.create(&chosen, &scratch.project()).await, Code::Conflict, "is taken");
    }
    assert!(parent.join("empty").is_dir() && parent.join("file").is_file());
    assert_eq!(std::fs::read_to_string(parent.join("full/precious")).expect("there"), "work");
}

#[tokio::test]
async fn every_mode_works_from_anywhere_in_the_repository() {
    let scratch = Scratch::new();
    scratch.write("deep/er/file", "x\n");
    scratch.commit("deep");
    for name in ["a", "b", "c", "d"] {
        scratch.git(&["branch", name]);
    }
    let origin = scratch.remote("origin");
    let tree = scratch.create("tree").await.expect("made");
    let link = scratch.root.join("link");
    std::os::unix::fs::symlink(scratch.project(), &link).expect("a link can be made");
    let places = [
        scratch.project().join("deep/er"),
        tree.worktree_path.clone().into(),
        Path::new(&tree.worktree_path).join("deep"),
        link.join("deep"),
    ];
    for (number, (cwd, branch)) in (1..).zip(places.iter().zip(["a", "b", "c", "d"])) {
        scratch.publish(&origin, "main", "file", &format!("refs/pull/{number}/head"));
        for request in [checkout(branch), pull_request(number)] {
            let made = scratch.worktrees.create(&request, cwd).await.expect("made");
            assert!(made.created);
            assert_eq!(Path::new(&made.worktree_path).parent(), Path::new(&tree.worktree_path).parent());
            scratch.assert_sound(&made);
        }
    }
}

#[tokio::test]
async fn submodules_are_left_empty_as_git_leaves_them() {
    let scratch = Scratch::new();
    let library = scratch.bare("library");
    scratch.git(&["push", "--quiet", library.to_str().expect("UTF-8"), "main"]);
    let add = [
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        library.to_str().expect("UTF-8"),
        "sub/lib",
    ];
    scratch.git(&add);
    scratch.commit("with a submodule");
    let made = scratch.create("fix/foo").await.expect("made");
    scratch.assert_sound(&made);
    let path = Path::new(&made.worktree_path);
    assert_eq!(files(path), files(&scratch.as_git_does("git")));
    assert!(std::fs::read_dir(path.join("sub/lib")).expect("it is there").next().is_none(), "and empty");
    assert!(!scratch.list().await.iter().any(|tree| tree.dirty || tree.problem.is_some()));
    scratch.git_in(path, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init"]);
    scratch.assert_sound(&made);
    // A submodule is a repository of its own.
    let inner = scratch.worktrees.create(&branch_off("inner"), &scratch.project().join("sub/lib")).await.expect("made");
    assert_ne!(Path::new(&inner.worktree_path).parent(), path.parent());
    scratch.assert_sound(&inner);
}

#[tokio::test]
async fn filters_and_line_ends_are_applied() {
    let scratch = Scratch::new();
    scratch.git(&["config", "filter.swap.clean", "sed s/secret/XXXXXX/"]);
    scratch.git(&["config", "filter.swap.smudge", "sed s/XXXXXX/secret/"]);
    scratch.git(&["config", "filter.same.clean", "cat"]);
    scratch.git(&["config", "filter.same.smudge", "cat"]);
    scratch.write(".gitattributes", "*.swap filter=swap\n*.same filter=same eol=crlf\nnowhere/* filter=unknown\n");
    scratch.write("sub/.gitattributes", "*.swap -filter\n");
    scratch.write("a.swap", "a secret\n");
    scratch.write("sub/a.swap", "XXXXXX\n");
    scratch.write("a.same", "one\r\n");
    scratch.write("nowhere/x", "x\n");
    scratch.commit("filtered");
    assert_eq!(scratch.git(&["show", "HEAD:a.swap"]), "a XXXXXX");
    let as_git_does = scratch.as_git_does("git");
    scratch.git(&["branch", "topic"]);
    for made in [scratch.create("fix/foo").await.expect("made"), scratch.check_out("topic").await.expect("made")] {
        scratch.assert_sound(&made);
        for name in files(&as_git_does).iter().filter(|name| !as_git_does.join(name).is_dir()) {
            let (ours, theirs) = (Path::new(&made.worktree_path).join(name), as_git_does.join(name));
            assert_eq!(std::fs::read(ours).expect("there"), std::fs::read(theirs).expect("there"), "{name:?}");
        }
        assert_eq!(std::fs::read(Path::new(&made.worktree_path).join("a.swap")).expect("there"), b"a secret\n");
        assert!(!scratch.list().await.iter().any(|tree| tree.dirty));
    }
}

#[tokio::test]
async fn odd_file_names_are_kept() {
    let scratch = Scratch::new();
    let names: [&[u8]; 8] = [
        b"caf\xe9",
        b"new\nline",
        b"-dash",
        b"back\\slash",
        b"tab\t\"quotes\"'",
        "composed-é".as_bytes(),
        "decomposed-e\u{301}".as_bytes(),
        b" space ",
    ];
    for name in names {
        std::fs::write(scratch.project().join(OsStr::from_bytes(name)), name).expect("written");
        let directory = scratch.project().join(OsStr::from_bytes(&[b"d ", name].concat()));
        std::fs::create_dir(&directory).expect("made");
        std::fs::write(directory.join("file"), name).expect("written");
        std::os::unix::fs::symlink(OsStr::from_bytes(name), directory.join("link")).expect("a link can be made");
    }
    scratch.commit("odd");
    let made = scratch.create("fix/foo").await.expect("made");
    scratch.assert_sound(&made);
    let path = Path::new(&made.worktree_path);
    assert_eq!(files(path), files(&scratch.as_git_does("git")));
    assert_eq!(std::fs::read(path.join(OsStr::from_bytes(b"caf\xe9"))).expect("there"), b"caf\xe9");
    assert!(!scratch.list().await.iter().any(|tree| tree.dirty || tree.problem.is_some()));
    scratch.worktrees.roll_back(&made).await.expect("rolled back");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_sparse_checkout_makes_sparse_worktrees() {
    for (mode, patterns) in [("--cone", &["in", "deep/er"][..]), ("--no-cone", &["/in/", "!/in/not", "*.md"][..])] {
        let scratch = Scratch::new();
        for name in ["in/a", "in/not", "out/b", "deep/c", "deep/er/d", "deep/out/e"] {
            scratch.write(name, "x\n");
        }
        scratch.commit("many");
        scratch.git(&["branch", "topic"]);
        scratch.git(&[&["sparse-checkout", "set", mode], patterns].concat());
        let as_git_does = scratch.as_git_does("git");
        for made in [scratch.create("fix/foo").await.expect("made"), scratch.check_out("topic").await.expect("made")] {
            scratch.assert_sound(&made);
            let path = Path::new(&made.worktree_path);
            assert!(path.join("in/a").exists() && !path.join("out").exists(), "{mode}");
            assert_eq!(files(path), files(&as_git_does), "{mode}");
            let list = ["sparse-checkout", "list"];
            assert_eq!(scratch.git_in(path, &list), scratch.git_in(&as_git_does, &list), "{mode}");
            assert!(!scratch.list().await.iter().any(|tree| tree.dirty), "{mode}");
            scratch.git_in(path, &["sparse-checkout", "disable"]);
            scratch.assert_sound(&made);
            assert!(path.join("out/b").exists());
            assert!(!scratch.project().join("out").exists(), "the main checkout stays as it is");
        }
    }
}

#[tokio::test]
async fn a_shallow_clone_is_enough() {
    let scratch = Scratch::new();
    for number in 0..5 {
        scratch.write("file", &format!("{number}\n"));
        scratch.commit("one more");
    }
    scratch.git(&["branch", "topic"]);
    let shallow = scratch.clone_as("shallow", &["--depth=1", "--no-single-branch"]);
    let head = scratch.commit("newer");
    scratch.git(&["update-ref", "refs/pull/7/head", &head]);
    for request in [
        branch_off("fix/foo"),
        CreateWorktree { fetch: true, ..branch_off("fix/bar") },
        checkout("topic"),
        pull_request(7),
    ] {
        let made = scratch.worktrees.create(&request, &shallow).await.expect("made");
        assert!(made.created);
        scratch.assert_sound(&made);
    }
    let listed = scratch.worktrees.list(Some(&shallow), false).await.expect("listed");
    assert!(listed.len() == 4 && listed.iter().all(|tree| tree.problem.is_none() && !tree.dirty), "{listed:?}");
    assert!(!shallow.join(".git/shallow.lock").exists());
}

#[tokio::test]
async fn a_repository_of_sha_256_works() {
    let scratch = Scratch::new();
    let project = scratch.root.join("sha256");
    scratch.git_in(&scratch.root, &["init", "--quiet", "--object-format=sha256", "--initial-branch=main", "sha256"]);
    std::fs::write(project.join("file"), "x\n").expect("written");
    scratch.git_in(&project, &["add", "--all"]);
    scratch.git_in(&project, &["commit", "--quiet", "-m", "start"]);
    scratch.git_in(&project, &["branch", "topic"]);
    let head = scratch.commit_of(&project, "HEAD");
    assert_eq!(head.len(), 64);
    scratch.git_in(&project, &["update-ref", "refs/pull/7/head", &head]);
    scratch.git_in(&project, &["remote", "add", "origin", "."]);
    for request in [branch_off("fix/foo"), checkout("topic"), checkout(&head), pull_request(7)] {
        let made = scratch.worktrees.create(&request, &project).await.expect("made");
        assert_eq!((made.created, made.base_commit.as_ref()), (true, Some(&head)));
        scratch.assert_sound(&made);
    }
    let listed = scratch.worktrees.list(Some(&project), false).await.expect("listed");
    assert!(listed.len() == 4 && listed.iter().all(|tree| tree.problem.is_none() && !tree.dirty), "{listed:?}");
}

#[tokio::test]
async fn references_in_a_reftable_are_refused_with_what_to_do() {
    let scratch = Scratch::new();
    let made = scratch.command(&scratch.root, &["init", "--quiet", "--ref-format=reftable", "tables"]).output();
    if !made.expect("git can be run").status.success() {
        return;
    }
    let project = scratch.root.join("tables");
    scratch.git_in(&project, &["commit", "--quiet", "--allow-empty", "-m", "start"]);
    let error = refused(scratch.worktrees.create(&branch_off("x"), &project).await, Code::Unsupported, "reftable");
    assert_eq!(field(&error), "cwd");
    assert!(error.hint.is_some_and(|hint| hint.contains("git refs migrate --ref-format=files")));
    assert!(!scratch.root.join("home").exists(), "nothing was written");
}

#[tokio::test]
async fn a_repository_of_another_user_is_refused_as_git_refuses_it() {
    if !rustix::process::getuid().is_root() || std::env::var_os("SUDO_UID").is_some() {
        return;
    }
    let scratch = Scratch::new();
    let mut all = vec![scratch.project()];
    walk(&scratch.project(), &mut all);
    for path in all {
        std::os::unix::fs::lchown(path, Some(12345), Some(12345)).expect("root may");
    }
    let git = scratch.command(&scratch.project(), &["status"]).output().expect("git can be run");
    assert!(String::from_utf8_lossy(&git.stderr).contains("dubious ownership"));
    let error = refused(scratch.create("fix/foo").await, Code::Refused, "belongs to another user");
    assert_eq!(field(&error), "cwd");
    assert!(error.hint.is_some_and(|hint| hint.contains("safe.directory")));
    assert!(!scratch.root.join("home").exists(), "nothing was written");
}

#[tokio::test]
async fn a_rebase_in_progress_keeps_its_branch() {
    let scratch = Scratch::new();
    for branch in ["a", "b", "c"] {
        scratch.git(&["branch", branch]);
    }
    scratch.write("file", "main\n");
    scratch.commit("main goes on");
    let begin = |path: &Path| {
        std::fs::write(path.join("file"), "other\n").expect("written");
        scratch.git_in(path, &["add", "--all"]);
        scratch.git_in(path, &["commit", "--quiet", "-m", "other"]);
        let rebase = scratch.command(path, &["rebase", "--quiet", "main"]).output().expect("git can be run");
        assert!(!rebase.status.success(), "it stops at a conflict");
    };
    let theirs = scratch.root.join("theirs");
    scratch.git(&["worktree", "add", "--quiet", theirs.to_str().expect("UTF-8"), "b"]);
    let ours = scratch.check_out("c").await.expect("made");
    scratch.git(&["switch", "--quiet", "a"]);
    let project = scratch.project();
    for path in [project.as_path(), &theirs, Path::new(&ours.worktree_path)] {
        begin(path);
    }
    let before = scratch.traces();
    let error = refused(scratch.check_out("a").await, Code::Conflict, "in the main checkout");
    assert!(error.message.contains(project.to_str().expect("UTF-8")));
    let error = refused(scratch.check_out("b").await, Code::Conflict, "in another worktree");
    assert!(error.message.contains(theirs.to_str().expect("UTF-8")));
    refused(scratch.create("a").await, Code::Conflict, "in the main checkout");
    let again = scratch.check_out("c").await.expect("it is there, in the middle of a rebase");
    assert_eq!((again.created, &again.worktree_path), (false, &ours.worktree_path));
    assert_eq!(scratch.traces(), before);
    let made = scratch.create("fix/foo").await.expect("others are not in its way");
    assert_eq!(made.base_branch.as_deref(), Some("main"));
    scratch.assert_sound(&made);
    scratch.git(&["rebase", "--abort"]);
    scratch.git(&["switch", "--quiet", "main"]);
    scratch.git(&["bisect", "start"]);
    scratch.git(&["switch", "--quiet", "--detach"]);
    refused(scratch.check_out("main").await, Code::Conflict, "in the main checkout");
    scratch.assert_sound(&scratch.check_out("a").await.expect("free again"));
}

#[tokio::test]
async fn the_hooks_of_git_do_not_run() {
    let scratch = Scratch::new();
    let hooks = scratch.root.join("hooks");
    std::fs::create_dir(&hooks).expect("made");
    let script = format!("#!/bin/sh\necho ran >> {}/ran\nexit 1\n", scratch.root.display());
    for name in ["post-checkout", "reference-transaction", "post-index-change"] {
        crate::lab::program(&hooks.join(name), script.as_bytes());
        crate::lab::program(&scratch.project().join(".git/hooks").join(name), script.as_bytes());
    }
    for path in [None, Some(hooks.to_str().expect("UTF-8"))] {
        if let Some(path) = path {
            scratch.git(&["config", "core.hooksPath", path]);
        }
        let made = scratch.create(if path.is_some() { "configured" } else { "own" }).await.expect("made");
        assert!(!scratch.root.join("ran").exists());
        assert!(Path::new(&made.worktree_path).join("README.md").exists());
    }
}

#[tokio::test]
async fn configuration_of_one_worktree_is_carried_over_as_git_does() {
    let scratch = Scratch::new();
    scratch.git(&["config", "extensions.worktreeConfig", "true"]);
    scratch.git(&["config", "--worktree", "user.nickname", "main"]);
    let as_git_does = scratch.as_git_does("git");
    let made = scratch.create("fix/foo").await.expect("made");
    scratch.assert_sound(&made);
    let path = Path::new(&made.worktree_path);
    let get = |path: &Path| scratch.command(path, &["config", "user.nickname"]).output().expect("git").stdout;
    assert_eq!(get(path), get(&as_git_does));
    scratch.git_in(path, &["config", "--worktree", "user.nickname", "own"]);
    assert_eq!(scratch.git(&["config", "user.nickname"]), "main");
    let from = scratch.worktrees.create(&branch_off("fix/bar"), path).await.expect("made");
    scratch.assert_sound(&from);
    // As the manual says to convert a bare repository: what is bare is the main checkout alone.
    let bare = scratch.root.join("app.git");
    let names = [scratch.project(), bare.clone()].map(|path| path.display().to_string());
    scratch.git_in(&scratch.root, &["clone", "--quiet", "--bare", &names[0], &names[1]]);
    scratch.git_in(&bare, &["config", "extensions.worktreeConfig", "true"]);
    scratch.git_in(&bare, &["config", "--unset", "core.bare"]);
    scratch.git_in(&bare, &["config", "--worktree", "core.bare", "true"]);
    let first = scratch.worktrees.create(&branch_off("one"), &bare).await.expect("made");
    scratch.assert_sound(&first);
    let second = scratch.worktrees.create(&branch_off("two"), Path::new(&first.worktree_path)).await.expect("made");
    assert_eq!(Path::new(&second.worktree_path).parent(), Path::new(&first.worktree_path).parent());
    scratch.assert_sound(&second);
}
