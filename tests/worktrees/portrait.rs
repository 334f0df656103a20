//! What git and the disk say of a worktree, so that it can be compared with what they say later.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Everything that somebody who works in a worktree could find changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Portrait(BTreeMap<String, String>);

impl Portrait {
    /// Looks at a worktree; nothing there is changed by it.
    pub(super) fn of(tree: &Path) -> Portrait {
        let mut said = BTreeMap::new();
        for args in QUESTIONS {
            said.insert(format!("git {}", args.join(" ")), answer(tree, args));
        }
        let ignored = names(&git(tree, &["ls-files", "-z", "--others", "--ignored", "--exclude-standard"]));
        for file in files(tree).difference(&ignored) {
            said.insert(format!("file {:?}", Path::new(file)), described(&tree.join(file)));
        }
        let own = git_dir(tree);
        for file in files(&own) {
            let name = Path::new(&file).to_string_lossy().into_owned();
            if !NOT_COMPARED.contains(&name.as_str()) && !name.starts_with("paseo") && !name.starts_with("sharedindex.")
            {
                said.insert(format!("git dir {name}"), described(&own.join(&file)));
            }
        }
        Portrait(said)
    }

    /// Checks that two are the same, and says where they differ.
    #[track_caller]
    pub(super) fn assert_same(&self, now: &Portrait, when: &str) {
        let keys: BTreeSet<_> = self.0.keys().chain(now.0.keys()).collect();
        let differences: Vec<_> = keys
            .into_iter()
            .filter(|key| self.0.get(*key) != now.0.get(*key))
            .map(|key| format!("{key}\n  before: {:?}\n  after:  {:?}", self.0.get(key), now.0.get(key)))
            .collect();
        assert!(differences.is_empty(), "{when}:\n{}", differences.join("\n"));
    }
}

/// What is compared by other words, or is not to be the same.
const NOT_COMPARED: [&str; 5] = ["index", "gitdir", "commondir", "locked", "index.lock"];

const QUESTIONS: &[&[&str]] = &[
    &["status", "--porcelain=v2", "--branch", "-z"],
    &["diff", "--binary", "--no-ext-diff"],
    &["diff", "--cached", "--binary", "--no-ext-diff"],
    &["ls-files", "--stage", "-v", "-z"],
    &["ls-files", "-t", "-z"],
    &["rev-parse", "--symbolic-full-name", "HEAD"],
    &["log", "-1", "--format=%H %s"],
    &["reflog", "--format=%H %gs"],
    &["config", "--get-regexp", r"^branch\."],
    &["stash", "list", "--format=%H"],
    &["rev-parse", "--abbrev-ref", "@{upstream}"],
];

fn answer(tree: &Path, args: &[&str]) -> String {
    let output = command(tree, args).output().expect("git can be run");
    let said = if args[0] == "status" { really_changed(tree, &output.stdout) } else { output.stdout };
    format!("{} {:?}", output.status, OsString::from_vec(said))
}

/// Leaves out what git calls changed for its size alone, where line ends are converted: it finds no difference in it.
fn really_changed(tree: &Path, status: &[u8]) -> Vec<u8> {
    let different = names(&command(tree, &["diff", "--name-only", "-z"]).output().expect("git can be run").stdout);
    let differs = |record: &&[u8]| {
        !record.starts_with(b"1 .M")
            || record
                .splitn(9, |byte| *byte == b' ')
                .nth(8)
                .is_some_and(|path| different.contains(OsStr::from_bytes(path)))
    };
    status.split(|byte| *byte == 0).filter(differs).collect::<Vec<_>>().join(&0)
}

/// Runs git, which may fail, without anything of the user's.
pub(super) fn try_git(directory: &Path, args: &[&OsStr]) -> Output {
    command(directory, args).output().expect("git can be run")
}

/// Runs git and returns what it printed.
#[track_caller]
pub(super) fn git(directory: &Path, args: &[&str]) -> Vec<u8> {
    let output = command(directory, args).output().expect("git can be run");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs git and returns the line that it printed.
#[track_caller]
pub(super) fn git_line(directory: &Path, args: &[&str]) -> String {
    String::from_utf8_lossy(&git(directory, args)).trim_end().to_owned()
}

fn command(directory: &Path, args: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(args);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_OPTIONAL_LOCKS", "0");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Test").env(format!("GIT_{role}_EMAIL"), "test@localhost");
    }
    command.env("GIT_EDITOR", "true").env("GIT_SEQUENCE_EDITOR", "true");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    command
}

/// Returns a worktree's own git directory.
pub(super) fn git_dir(tree: &Path) -> PathBuf {
    PathBuf::from(git_line(tree, &["rev-parse", "--absolute-git-dir"]))
}

pub(super) fn names(list: &[u8]) -> BTreeSet<OsString> {
    list.split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| OsStr::from_bytes(name).to_owned())
        .collect()
}

/// Every file below a directory, git's own left out.
pub(super) fn files(directory: &Path) -> BTreeSet<OsString> {
    let mut found = BTreeSet::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(below) = directories.pop() {
        for entry in std::fs::read_dir(directory.join(&below)).expect("a directory").flatten() {
            let name = below.join(entry.file_name());
            match entry.file_type().expect("a kind").is_dir() {
                _ if name == Path::new(".git") => {}
                true => directories.push(name),
                false => drop(found.insert(name.into_os_string())),
            }
        }
    }
    found
}

fn described(file: &Path) -> String {
    let metadata = file.symlink_metadata().expect("it is there");
    match metadata.is_symlink() {
        true => format!("link to {:?}", std::fs::read_link(file).expect("a link")),
        false => {
            let bytes = std::fs::read(file).expect("a file");
            let shown = OsStr::from_bytes(&bytes[..bytes.len().min(200)]).to_owned();
            let sum = bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            let executable = metadata.permissions().mode() & 0o100 != 0;
            format!("{} bytes, sum {sum:x}, executable {executable}: {shown:?}", bytes.len())
        }
    }
}

/// Everything on the disk below a directory, with its bytes.
pub(super) fn snapshot(directory: &Path) -> BTreeMap<OsString, String> {
    let all = |file: OsString| (file.clone(), described(&directory.join(file)));
    let mut found: BTreeMap<_, _> = files(directory).into_iter().map(all).collect();
    let git = directory.join(".git");
    if git.is_dir() {
        found.extend(
            files(&git).into_iter().map(|file| (Path::new(".git").join(&file).into(), described(&git.join(file)))),
        );
    }
    found
}
