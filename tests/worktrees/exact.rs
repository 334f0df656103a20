//! Whatever state a worktree is in: archived by force and restored, it is what it was, byte for byte.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::archive::assert_gone;
use super::portrait::{Portrait, git, git_dir, git_line, names, try_git};
use super::{Scratch, branch_off};

#[test]
fn what_is_archived_by_force_comes_back_byte_for_byte() {
    let template = template();
    let config = ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let states = (settings(), proptest::collection::vec(deed(), 0..14), any::<bool>());
    let there_and_back = |(settings, deeds, collected): (Settings, Vec<Deed>, bool)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(there_and_back(&template, settings, &deeds, collected));
        Ok(())
    };
    if let Err(failure) = proptest::test_runner::TestRunner::new(config).run(&states, there_and_back) {
        panic!("{failure}");
    }
}

/// `PASEO_CASES` makes them many.
fn cases() -> u32 {
    std::env::var("PASEO_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

async fn there_and_back(template: &Scratch, settings: Settings, deeds: &[Deed], collected: bool) {
    let scratch = Scratch::copy_of(template);
    for (name, value) in settings.values() {
        git(&scratch.project(), &["config", name, value]);
    }
    let made = scratch.worktrees.create(&branch_off("fix/foo"), &scratch.project()).await.expect("made");
    let tree = PathBuf::from(&made.worktree_path);
    git(&tree, &["branch", "--quiet", "--set-upstream-to=main"]);
    git(&tree, &["config", "branch.fix/foo.description", "two\nlines, \"quoted\""]);
    for deed in deeds {
        deed.do_in(&tree);
    }
    unsettle(&tree);
    let before = Portrait::of(&tree);
    let archived = scratch.archive("fix-foo", true).await.expect("archived");
    assert_gone(&scratch, &tree, &archived);
    if collected {
        // As if time had passed: nothing is kept but by a reference.
        git(&scratch.project(), &["gc", "--quiet", "--prune=now"]);
    }
    let restored = scratch.restore("fix-foo").await.expect("restored");
    assert_eq!(Path::new(&restored.worktree_path), tree);
    assert_fresh(&tree);
    unsettle(&tree);
    before.assert_same(&Portrait::of(&tree), "after it came back");
    let kept = try_git(&scratch.project(), &["show-ref".as_ref(), "refs/paseo/archive/fix-foo".as_ref()]);
    assert!(!kept.status.success(), "nothing is archived that is there");
    // Once more: what came back can go, and comes back again.
    scratch.archive("fix-foo", true).await.expect("archived again");
    scratch.restore("fix-foo").await.expect("restored again");
    unsettle(&tree);
    before.assert_same(&Portrait::of(&tree), "after it came back again");
}

/// Gives every file another time, so that git compares what is in it: it may call a file unchanged by its time alone, which
/// attributes that have changed since would convert to something else.
fn unsettle(tree: &Path) {
    let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for name in names(&git(tree, &["ls-files", "-z"])) {
        let file = tree.join(name);
        if file.symlink_metadata().is_ok_and(|found| found.is_file()) {
            std::fs::File::open(&file).and_then(|file| file.set_modified(then)).expect("it gets another time");
        }
    }
}

/// Checks that git has to read no file again to see that it is unchanged.
fn assert_fresh(tree: &Path) {
    let read_again = names(&git(tree, &["diff-files", "--name-only", "-z"]));
    let changed = names(&git(tree, &["diff", "--name-only", "-z"]));
    let stale: BTreeSet<_> = read_again.difference(&changed).collect();
    assert!(stale.is_empty(), "the index does not know how these look on the disk: {stale:?}");
}

/// A repository with some history.
fn template() -> Scratch {
    let scratch = Scratch::empty();
    let project = scratch.project();
    write(&project.join(".gitignore"), b"*.o\nbuild/\n");
    for (number, name) in NAMES.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
        write(&project.join(OsStr::from_bytes(name)), CONTENTS[number % CONTENTS.len()]);
    }
    commit(&project, "one");
    git(&project, &["branch", "other"]);
    write(&project.join("a.txt"), b"main's\n");
    write(&project.join("dir/c.txt"), b"main's\n");
    commit(&project, "two");
    git(&project, &["switch", "--quiet", "other"]);
    for number in ["three", "four"] {
        write(&project.join("a.txt"), number.as_bytes());
        commit(&project, number);
    }
    git(&project, &["switch", "--quiet", "main"]);
    write(&project.join("a.txt"), b"stashed\n");
    git(&project, &["stash", "push", "--quiet"]);
    scratch
}

fn commit(directory: &Path, message: &str) {
    git(directory, &["add", "--all"]);
    git(directory, &["commit", "--quiet", "-m", message]);
}

/// Writes a file, whatever is in its way.
fn write(path: &Path, content: &[u8]) {
    make_room(path);
    std::fs::write(path, content).expect("it can be written");
}

fn make_room(path: &Path) {
    for above in path.ancestors().skip(1).take(3) {
        if above.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            std::fs::remove_file(above).expect("it can be removed");
        }
    }
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    remove(path);
}

fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path).expect("it can be removed"),
        Ok(_) => std::fs::remove_file(path).expect("it can be removed"),
        Err(_) => {}
    }
}

/// What is set in the repository.
#[derive(Clone, Copy, Debug)]
struct Settings {
    autocrlf: Option<&'static str>,
    eol: Option<&'static str>,
    filemode: bool,
    split_index: bool,
}

impl Settings {
    fn values(&self) -> Vec<(&'static str, &'static str)> {
        let mut values = Vec::new();
        values.extend(self.autocrlf.map(|value| ("core.autocrlf", value)));
        values.extend(self.eol.map(|value| ("core.eol", value)));
        if !self.filemode {
            values.push(("core.fileMode", "false"));
        }
        if self.split_index {
            values.push(("core.splitIndex", "true"));
        }
        values
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    let autocrlf = prop_oneof![4 => Just(None), 1 => Just(Some("true")), 1 => Just(Some("input"))];
    let eol = prop_oneof![4 => Just(None), 1 => Just(Some("crlf"))];
    (autocrlf, eol, proptest::bool::weighted(0.85), proptest::bool::weighted(0.1))
        .prop_map(|(autocrlf, eol, filemode, split_index)| Settings { autocrlf, eol, filemode, split_index })
}

/// Something that somebody does in a worktree; what cannot be is not done.
#[derive(Clone, Debug)]
enum Deed {
    Write {
        name: usize,
        content: usize,
    },
    Large {
        name: usize,
        size: usize,
    },
    Remove {
        name: usize,
    },
    Executable {
        name: usize,
    },
    Link {
        name: usize,
        target: usize,
    },
    Attributes {
        which: usize,
    },
    Ignored,
    Move {
        name: usize,
        to: usize,
    },
    /// A git command about one file.
    About {
        command: usize,
        name: usize,
    },
    /// Any other git command.
    Git {
        command: usize,
    },
}

fn deed() -> impl Strategy<Value = Deed> {
    let name = || 0..NAMES.len();
    prop_oneof![
        6 => (name(), 0..CONTENTS.len()).prop_map(|(name, content)| Deed::Write { name, content }),
        1 => (name(), 60_000..400_000_usize).prop_map(|(name, size)| Deed::Large { name, size }),
        2 => name().prop_map(|name| Deed::Remove { name }),
        1 => name().prop_map(|name| Deed::Executable { name }),
        2 => (name(), name()).prop_map(|(name, target)| Deed::Link { name, target }),
        2 => (0..ATTRIBUTES.len()).prop_map(|which| Deed::Attributes { which }),
        1 => Just(Deed::Ignored),
        1 => (name(), name()).prop_map(|(name, to)| Deed::Move { name, to }),
        6 => (0..ABOUT.len(), name()).prop_map(|(command, name)| Deed::About { command, name }),
        4 => (0..COMMANDS.len()).prop_map(|command| Deed::Git { command }),
    ]
}

impl Deed {
    fn do_in(&self, tree: &Path) {
        let path = |name: usize| tree.join(OsStr::from_bytes(NAMES[name]));
        match *self {
            Deed::Write { name, content } => write(&path(name), CONTENTS[content]),
            Deed::Large { name, size } => {
                let bytes = (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8);
                write(&path(name), &bytes.collect::<Vec<_>>());
            }
            Deed::Remove { name } => remove(&path(name)),
            Deed::Executable { name } => {
                let path = path(name);
                if let Ok(found) = path.symlink_metadata()
                    && found.is_file()
                {
                    let mode = found.permissions().mode() ^ 0o111;
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it can be set");
                }
            }
            // git warns of such links wherever it finds them.
            Deed::Link { name, .. }
                if NAMES[name].ends_with(b".gitattributes") || NAMES[name].ends_with(b".gitignore") => {}
            Deed::Link { name, target } => {
                make_room(&path(name));
                std::os::unix::fs::symlink(OsStr::from_bytes(NAMES[target]), path(name)).expect("it can be linked");
            }
            Deed::Attributes { which } => write(&tree.join(".gitattributes"), ATTRIBUTES[which].as_bytes()),
            Deed::Ignored => {
                write(&tree.join("x.o"), b"object");
                write(&tree.join("build/out"), b"built");
            }
            Deed::Move { name, to } => {
                let args = [b"mv".as_slice(), b"-f", b"--", NAMES[name], NAMES[to]].map(OsStr::from_bytes);
                drop(try_git(tree, &args));
            }
            Deed::About { command, name } => {
                let words = ABOUT[command].split(' ').map(OsStr::new);
                let args: Vec<_> = words.chain([OsStr::new("--"), OsStr::from_bytes(NAMES[name])]).collect();
                drop(try_git(tree, &args));
            }
            Deed::Git { command } => {
                let args: Vec<_> = COMMANDS[command].split(' ').map(OsStr::new).collect();
                drop(try_git(tree, &args));
            }
        }
    }
}

const NAMES: &[&[u8]] = &[
    b"a.txt",
    b"a.txt/inside",
    b"dir/c.txt",
    b"dir",
    b"dir/deep/d.txt",
    b"b.txt",
    b"with space",
    "\u{fc}n\u{ef}/c\u{f6}de".as_bytes(),
    b"-dash",
    b"new\nline",
    b"not\xffutf8",
    b"quote\"d",
    b"run.sh",
    b"back\\slash",
    b"colon: aux. ",
    b"[glob]*?",
    b"docs/.gitattributes",
    b"other/.gitignore",
];

const CONTENTS: &[&[u8]] = &[
    b"line\n",
    b"",
    b"one\r\ntwo\nthree\r\n",
    b"all\r\nof\r\nthem\r\n",
    b"\0binary\r\n\0\xff\n",
    b"no end",
    b"$Id$\nident\n",
    b"$Id: 1234567890123456789012345678901234567890 $\n",
    b"other text\n",
    b"*.txt text\n",
    b"\xc3\xa9\n",
];

const ATTRIBUTES: &[&str] = &[
    "* text=auto\n",
    "*.txt text eol=crlf\n",
    "* text eol=lf\n",
    "* ident\n",
    "*.txt working-tree-encoding=ISO-8859-1\n",
    "* -text\n",
    "*.txt crlf=input\n",
];

const ABOUT: &[&str] = &[
    "add --all",
    "add --all",
    "add --intent-to-add",
    "rm --quiet --cached -r",
    "rm --quiet -r",
    "update-index --assume-unchanged",
    "update-index --skip-worktree",
    "update-index --force-remove",
    "reset --quiet HEAD",
];

const COMMANDS: &[&str] = &[
    "add --all",
    "commit --quiet -m work",
    "commit --quiet -a -m work",
    "commit --quiet --amend --allow-empty -m amended",
    "reset --quiet --hard HEAD~1",
    "reset --quiet --soft HEAD~1",
    "merge --quiet other",
    "rebase --quiet other",
    "rebase --quiet --exec false HEAD~1",
    "rebase --quiet --autostash other",
    "cherry-pick other~1 other",
    "revert --no-edit HEAD",
    "checkout --quiet --detach",
    "switch --quiet -c elsewhere",
    "stash push --quiet --include-untracked",
    "bisect start HEAD HEAD~1",
    "status",
    "update-index --refresh",
    "update-index --index-version 4",
    "update-ref refs/worktree/mine HEAD",
    "config --worktree core.autocrlf true",
    "sparse-checkout set --cone --no-sparse-index dir",
    "sparse-checkout set --no-cone a.txt",
    "sparse-checkout disable",
];

/// What is under way when a worktree goes can be brought to its end when it is back.
#[tokio::test]
async fn a_rebase_that_stopped_goes_on_or_is_given_up_after_it_came_back() {
    for (end, continues) in [("--continue", true), ("--abort", false)] {
        let scratch = Scratch::copy_of(&template());
        let made = scratch.create_from("fix/foo", Some("main~1")).await.expect("made");
        let tree = PathBuf::from(&made.worktree_path);
        for (name, content) in [("a.txt", "mine\n"), ("b.txt", "mine too\n")] {
            write(&tree.join(name), content.as_bytes());
            commit(&tree, name);
        }
        let tip = git_line(&tree, &["rev-parse", "HEAD"]);
        let stopped = try_git(&tree, &["rebase".as_ref(), "other".as_ref()]);
        assert!(!stopped.status.success(), "it stops at a conflict");
        write(&tree.join("a.txt"), b"resolved\n");
        git(&tree, &["add", "a.txt"]);
        let error = scratch.archive("fix-foo", false).await.expect_err("it stays");
        assert!(error.message.contains("a rebase is under way"), "{}", error.message);
        let before = Portrait::of(&tree);
        scratch.archive("fix-foo", true).await.expect("archived");
        git(&scratch.project(), &["gc", "--quiet", "--prune=now"]);
        scratch.restore("fix-foo").await.expect("restored");
        before.assert_same(&Portrait::of(&tree), "after it came back");
        git(&tree, &["rebase", end]);
        assert!(!git_dir(&tree).join("rebase-merge").exists());
        assert_eq!(git_line(&tree, &["symbolic-ref", "HEAD"]), "refs/heads/fix/foo");
        match continues {
            true => {
                let subjects = git_line(&tree, &["log", "--format=%s", "other..HEAD"]);
                assert_eq!(subjects, "b.txt\na.txt");
            }
            false => assert_eq!(git_line(&tree, &["rev-parse", "HEAD"]), tip),
        }
    }
}

impl Scratch {
    /// Makes a copy of a repository that somebody else made.
    pub(super) fn copy_of(template: &Scratch) -> Scratch {
        let scratch = Scratch::empty();
        std::fs::remove_dir_all(scratch.project()).expect("it can be removed");
        let copied = Command::new("cp").arg("-a").arg(template.project()).arg(&scratch.root).status();
        assert!(copied.expect("cp can be run").success());
        scratch
    }
}
