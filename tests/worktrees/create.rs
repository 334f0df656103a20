//! What `create` makes, finds and refuses.

use std::path::Path;
use std::sync::Arc;

use paseo_daemon::worktrees::Worktrees;
use paseo_sdk::Code;
use paseo_sdk::catalogue::CreateWorktree;
use paseo_sdk::model::SetupStatus;

use super::{Scratch, branch_off, refused};

#[tokio::test]
async fn a_new_branch_gets_a_clean_worktree_below_home() {
    let scratch = Scratch::new();
    let head = scratch.git(&["rev-parse", "HEAD"]);
    let made = scratch.create("fix/Foo_bar").await.expect("it is made");
    assert_eq!(made.branch_name.as_deref(), Some("fix/Foo_bar"));
    assert_eq!(made.worktree_slug, "fix-foo-bar");
    assert_eq!((made.base_branch.as_deref(), made.base_commit.as_deref()), (Some("main"), Some(head.as_str())));
    assert_eq!((made.created, made.setup.status), (true, SetupStatus::None));
    let path = Path::new(&made.worktree_path);
    let parent = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).expect("a parent");
    let hash = parent.strip_prefix("project-").expect("the directory's name first");
    assert!(hash.len() == 8 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{hash}");
    assert_eq!(path.parent().and_then(Path::parent), Some(scratch.root.join("home/worktrees").as_path()));
    scratch.assert_sound(&made);
    assert_eq!(std::fs::read_to_string(path.join("README.md")).expect("it is checked out"), "hello\n");
    let left: Vec<_> = std::fs::read_dir(path.parent().expect("a parent"))
        .expect("it is a directory")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["fix-foo-bar"], "no mark is left");
}

#[tokio::test]
async fn names_are_law_and_only_the_directory_is_a_slug() {
    let scratch = Scratch::new();
    let long = "a".repeat(70);
    let long_slug = "a".repeat(50);
    for (branch, slug) in [
        ("fix/foo", "fix-foo"),
        ("Fix/foo", "fix-foo-2"),
        ("fix.foo", "fix-foo-3"),
        ("dependabot/npm_and_yarn/x-1.2", "dependabot-npm-and-yarn-x-1-2"),
        ("größe/日本語", "gr-e"),
        ("日本語", "worktree"),
        ("日本", "worktree-2"),
        (&long, &long_slug),
        (&format!("{long}b"), &format!("{}-2", "a".repeat(48))),
    ] {
        let made = scratch.create(branch).await.expect(branch);
        assert_eq!((made.branch_name.as_deref(), made.worktree_slug.as_str()), (Some(branch), slug));
        scratch.assert_sound(&made);
    }
}

#[tokio::test]
async fn an_invalid_branch_name_is_refused_with_the_field() {
    let scratch = Scratch::new();
    let before = scratch.traces();
    for name in
        ["a b", "-x", "a..b", "a.lock", "x/", "/x", "a//b", "HEAD", "@", "a~1", "a^", "a:b", ".a", "a@{b", "a\n"]
    {
        let error = refused(scratch.create(name).await, Code::InvalidArgument, "branchName");
        assert_eq!(error.details.expect("details")["field"], "branchName");
        let git = scratch.command(&scratch.project(), &["check-ref-format", "--branch", name]).output().expect("git");
        // git reads `@` as the branch that is checked out, which is no name for a new one.
        assert!(!git.status.success() || name == "@", "git refuses {name:?} too");
    }
    assert_eq!(scratch.traces(), before);
}

#[tokio::test]
async fn asking_again_returns_what_is_there() {
    let scratch = Scratch::new();
    scratch.git(&["branch", "develop"]);
    let first = scratch.create("fix/foo").await.expect("made");
    let named = scratch.create_from("fix/bar", Some("develop")).await.expect("made");
    for (branch, base, expected) in
        [("fix/foo", None, &first), ("fix/foo", Some("main"), &first), ("fix/bar", Some("develop"), &named)]
    {
        let again = scratch.create_from(branch, base).await.expect("found");
        assert!(!again.created);
        assert_eq!(again.worktree_path, expected.worktree_path);
        assert_eq!(again.base_commit, expected.base_commit);
    }
    let other = scratch.create_from("fix/foo", Some("develop")).await;
    let error = refused(other, Code::Conflict, "came from `main`, not `develop`");
    assert_eq!(error.details.expect("details")["worktreePath"], first.worktree_path);
    refused(scratch.create_from("fix/bar", None).await, Code::Conflict, "came from `develop`, not `main`");
}

#[tokio::test]
async fn a_branch_that_cannot_be_had_says_where_it_is() {
    let scratch = Scratch::new();
    scratch.git(&["branch", "lonely"]);
    let elsewhere = scratch.root.join("elsewhere");
    scratch.git(&["worktree", "add", "--quiet", "-b", "theirs", elsewhere.to_str().expect("UTF-8")]);
    let before = scratch.traces();
    refused(scratch.create("main").await, Code::Conflict, "is checked out in the main checkout");
    let error = refused(scratch.create("theirs").await, Code::Conflict, "another worktree");
    assert!(error.message.contains(elsewhere.to_str().expect("UTF-8")));
    refused(scratch.create("lonely").await, Code::Conflict, "exists already");
    refused(scratch.create("lonely/deep").await, Code::Conflict, "`lonely` leaves no room");
    scratch.git(&["branch", "deep/down"]);
    refused(scratch.create("deep").await, Code::Conflict, "`deep/down` leaves no room");
    scratch.git(&["branch", "-D", "deep/down"]);
    assert_eq!(scratch.traces(), before);

    let made = scratch.create("fix/foo").await.expect("made");
    scratch.git_in(Path::new(&made.worktree_path), &["switch", "--quiet", "-c", "other"]);
    refused(scratch.create("fix/foo").await, Code::Conflict, "has other checked out");
    std::fs::remove_dir_all(&made.worktree_path).expect("it can be removed");
    refused(scratch.create("other").await, Code::Conflict, "whose directory is gone");
}

#[tokio::test]
async fn a_base_may_be_a_branch_a_remote_branch_a_tag_or_a_commit() {
    let scratch = Scratch::new();
    let first = scratch.git(&["rev-parse", "HEAD"]);
    scratch.git(&["tag", "-a", "v1.0", "-m", "one"]);
    scratch.write("more", "more\n");
    let second = scratch.commit("more");
    scratch.git(&["branch", "develop"]);
    scratch.git(&["update-ref", "refs/remotes/origin/topic", &first]);
    for (number, (base, name, commit)) in [
        ("develop", "develop", &second),
        ("refs/heads/develop", "develop", &second),
        ("origin/topic", "origin/topic", &first),
        ("v1.0", "v1.0", &first),
        (&first, &first, &first),
        (&first[..10], &first, &first),
        ("main~1", &first, &first),
        ("HEAD", "main", &second),
    ]
    .into_iter()
    .enumerate()
    {
        let made = scratch.create_from(&format!("b{number}"), Some(base)).await.expect(base);
        assert_eq!((made.base_branch.as_deref(), made.base_commit.as_ref()), (Some(name), Some(commit)), "{base}");
        assert_eq!(scratch.git_in(Path::new(&made.worktree_path), &["rev-parse", "HEAD"]), **commit);
        scratch.assert_sound(&made);
    }
    let error = refused(scratch.create_from("x", Some("nope")).await, Code::InvalidArgument, "there is no `nope`");
    assert_eq!(error.details.expect("details")["field"], "baseBranch");
    scratch.git(&["tag", "blob", &scratch.git(&["rev-parse", "HEAD:more"])]);
    refused(scratch.create_from("x", Some("blob")).await, Code::InvalidArgument, "not a commit");
}

#[tokio::test]
async fn a_base_left_out_is_the_main_branch() {
    let scratch = Scratch::new();
    scratch.git(&["switch", "--quiet", "-c", "work"]);
    assert_eq!(scratch.create("a").await.expect("made").base_branch.as_deref(), Some("main"));
    scratch.git(&["branch", "-m", "main", "trunk"]);
    assert_eq!(scratch.create("b").await.expect("made").base_branch.as_deref(), Some("work"), "the current one");
    // Whoever leaves the base to paseo gets the same again, whatever is current by then.
    assert!(!scratch.create("a").await.expect("found").created);
    scratch.git(&["branch", "master", "trunk"]);
    assert_eq!(scratch.create("c").await.expect("made").base_branch.as_deref(), Some("master"));
    scratch.git(&["update-ref", "refs/remotes/origin/trunk", "trunk"]);
    scratch.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk"]);
    assert_eq!(scratch.create("d").await.expect("made").base_branch.as_deref(), Some("trunk"));
    scratch.git(&["branch", "-D", "trunk"]);
    assert_eq!(scratch.create("e").await.expect("made").base_branch.as_deref(), Some("origin/trunk"));
}

#[tokio::test]
async fn the_repository_is_found_from_anywhere_inside_it() {
    let scratch = Scratch::new();
    scratch.write("deep/er/file", "x\n");
    scratch.commit("deep");
    let first = scratch.create("first").await.expect("made");
    let link = scratch.root.join("link");
    std::os::unix::fs::symlink(scratch.project(), &link).expect("a link can be made");
    for (number, cwd) in [
        scratch.project().join("deep/er"),
        first.worktree_path.clone().into(),
        Path::new(&first.worktree_path).join("deep"),
        link.clone(),
        link.join("deep"),
    ]
    .iter()
    .enumerate()
    {
        let made = scratch.worktrees.create(&branch_off(&format!("from/{number}")), cwd).await.expect("made");
        assert_eq!(Path::new(&made.worktree_path).parent(), Path::new(&first.worktree_path).parent(), "{cwd:?}");
        scratch.assert_sound(&made);
    }
    // `HEAD` is that of the checkout in which it is said.
    let request = CreateWorktree::branch_off("from/head", "HEAD");
    let made = scratch.worktrees.create(&request, Path::new(&first.worktree_path)).await.expect("made");
    assert_eq!(made.base_branch.as_deref(), Some("first"));
}

#[tokio::test]
async fn a_place_without_a_usable_repository_is_refused_with_a_hint() {
    let scratch = Scratch::empty();
    refused(scratch.create("x").await, Code::InvalidArgument, "no commit yet");
    refused(scratch.create_from("x", Some("main")).await, Code::InvalidArgument, "no commit yet");
    let plain = scratch.root.join("plain");
    std::fs::create_dir(&plain).expect("it can be made");
    let bare = scratch.root.join("bare.git");
    scratch.git_in(&scratch.root, &["init", "--quiet", "--bare", "bare.git"]);
    for (cwd, code, words) in [
        (scratch.root.join("nowhere"), Code::InvalidArgument, "is not a directory"),
        (plain, Code::InvalidArgument, "is not in a git repository"),
        (bare, Code::InvalidArgument, "no commit yet"),
        ("relative".into(), Code::InvalidArgument, "is not an absolute path"),
    ] {
        let error = scratch.worktrees.create(&branch_off("x"), &cwd).await;
        let error = error.expect_err("it is refused");
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.message.contains(words), "{error:?}");
        assert_eq!(error.details.expect("details")["field"], "cwd");
    }
    assert!(!scratch.root.join("home").exists(), "nothing was written");
}

#[tokio::test]
async fn a_home_behind_a_link_that_does_not_exist_yet_is_fine() {
    let scratch = Scratch::new();
    let link = scratch.root.join("link");
    std::fs::create_dir(scratch.root.join("real")).expect("made");
    std::os::unix::fs::symlink(scratch.root.join("real"), &link).expect("a link can be made");
    let worktrees = Worktrees::new(link.join("not/there/yet"), Some(Path::new(crate::lab::PASEO)));
    let made = worktrees.create(&branch_off("fix/foo"), &scratch.project()).await.expect("made");
    assert!(Path::new(&made.worktree_path).starts_with(scratch.root.join("real/not/there/yet/worktrees")));
    scratch.assert_sound(&made);
    worktrees.roll_back(&made).await.expect("rolled back");
    assert!(!Path::new(&made.worktree_path).exists());
}

#[tokio::test]
async fn a_home_that_cannot_be_written_is_said_and_leaves_nothing() {
    let scratch = Scratch::new();
    let before = scratch.traces();
    let file = scratch.root.join("file");
    std::fs::write(&file, "").expect("written");
    let error = Worktrees::new(file.clone(), Some(Path::new(crate::lab::PASEO)))
        .create(&branch_off("fix/foo"), &scratch.project())
        .await;
    let error = error.expect_err("a file is no directory");
    assert!(error.message.contains(file.to_str().expect("UTF-8")), "{error:?}");
    assert_eq!(scratch.traces(), before);
}

#[tokio::test]
async fn a_slug_may_be_chosen() {
    let scratch = Scratch::new();
    let request = |branch: &str, slug: &str| CreateWorktree { worktree_slug: Some(slug.into()), ..branch_off(branch) };
    let made = scratch.worktrees.create(&request("fix/foo", "mine"), &scratch.project()).await.expect("made");
    assert_eq!(made.worktree_slug, "mine");
    let again = scratch.worktrees.create(&request("fix/foo", "mine"), &scratch.project()).await.expect("found");
    assert!(!again.created);
    let other = scratch.worktrees.create(&request("fix/bar", "mine"), &scratch.project()).await;
    refused(other, Code::Conflict, "`mine` is taken");
    for slug in ["", "Mine", "a/b", "..", "a--b", "-a", &"a".repeat(51)] {
        let result = scratch.worktrees.create(&request("fix/bar", slug), &scratch.project()).await;
        refused(result, Code::InvalidArgument, "worktreeSlug");
    }
}

#[tokio::test]
async fn modes_links_and_line_ends_are_as_git_checks_them_out() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new();
    scratch.write(".gitattributes", "*.crlf text eol=crlf\n*.lf text eol=lf\n*.bin binary\n");
    scratch.write("a.crlf", "one\r\ntwo\r\n");
    scratch.write("a.lf", "one\ntwo\n");
    scratch.write("a.bin", "one\r\ntwo\n");
    scratch.write("bin/run", "#!/bin/sh\n");
    scratch.write("odd names/ä \"quoted\"\t.txt", "x\n");
    let run = scratch.project().join("bin/run");
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).expect("it can be made executable");
    std::os::unix::fs::symlink("../README.md", scratch.project().join("bin/link")).expect("a link can be made");
    std::os::unix::fs::symlink("nowhere", scratch.project().join("dangling")).expect("a link can be made");
    scratch.commit("all kinds");
    let made = scratch.create("fix/foo").await.expect("made");
    scratch.assert_sound(&made);
    let path = Path::new(&made.worktree_path);
    assert_eq!(std::fs::read(path.join("a.crlf")).expect("there"), b"one\r\ntwo\r\n");
    assert_eq!(std::fs::read(path.join("a.lf")).expect("there"), b"one\ntwo\n");
    assert_eq!(std::fs::read(path.join("a.bin")).expect("there"), b"one\r\ntwo\n");
    assert_eq!(std::fs::metadata(path.join("bin/run")).expect("there").permissions().mode() & 0o111, 0o111);
    assert_eq!(std::fs::metadata(path.join("a.lf")).expect("there").permissions().mode() & 0o111, 0);
    assert_eq!(std::fs::read_link(path.join("bin/link")).expect("a link"), Path::new("../README.md"));
    assert_eq!(std::fs::read_link(path.join("dangling")).expect("a link"), Path::new("nowhere"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_at_once_all_succeed() {
    let scratch = Arc::new(Scratch::new());
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let scratch = scratch.clone();
            tokio::spawn(async move { scratch.create(&format!("parallel/{number}")).await })
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
    let paths: std::collections::BTreeSet<_> = made.iter().map(|worktree| &worktree.worktree_path).collect();
    assert_eq!(paths.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_of_the_same_name_give_one_tree() {
    let scratch = Arc::new(Scratch::new());
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let scratch = scratch.clone();
            tokio::spawn(async move { scratch.create("same").await })
        })
        .collect();
    let mut made = Vec::new();
    for task in tasks {
        made.push(task.await.expect("no panic").expect("made or found"));
    }
    assert_eq!(made.iter().filter(|worktree| worktree.created).count(), 1);
    assert!(made.iter().all(|worktree| worktree.worktree_path == made[0].worktree_path));
    scratch.assert_sound(&made[0]);
}
