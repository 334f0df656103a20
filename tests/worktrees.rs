//! Worktrees on real repositories, made with the `git` command.

mod begun;
mod create;
mod head;
mod listing;
mod model;
mod progress;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use paseo_daemon::worktrees::Worktrees;
use paseo_sdk::catalogue::CreateWorktree;
use paseo_sdk::model::Worktree;
use paseo_sdk::{ApiError, Code};

/// A directory with a repository `project` on branch `main`, and paseo's home beside it; gone at the end of the test.
struct Scratch {
    root: PathBuf,
    worktrees: Worktrees,
}

impl Scratch {
    /// Makes the repository with one commit.
    fn new() -> Scratch {
        let scratch = Scratch::empty();
        scratch.write("README.md", "hello\n");
        scratch.commit("start");
        scratch
    }

    /// Makes the repository without a commit.
    fn empty() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("paseo-worktrees-{}-{number}", std::process::id()));
        std::fs::create_dir_all(root.join("project")).expect("a directory for the repository");
        let root = root.canonicalize().expect("the directory is there");
        let scratch = Scratch { worktrees: worktrees(&root), root };
        scratch.git(&["init", "--quiet", "--initial-branch=main"]);
        scratch
    }

    fn project(&self) -> PathBuf {
        self.root.join("project")
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.project().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("the directory can be made");
        std::fs::write(path, content).expect("the file can be written");
    }

    fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in the repository and returns what it printed.
    fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.project(), args)
    }

    /// Runs git in a directory and returns what it printed; nothing of the user's configuration is read.
    fn git_in(&self, directory: &Path, args: &[&str]) -> String {
        let output = self.command(directory, args).output().expect("git can be run");
        let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
        assert!(output.status.success(), "git {args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn command(&self, directory: &Path, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(directory).args(["-c", "user.name=Test", "-c", "user.email=test@localhost"]).args(args);
        command.env("HOME", &self.root).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
        command
    }

    async fn create(&self, branch: &str) -> Result<Worktree, ApiError> {
        self.create_from(branch, None).await
    }

    async fn create_from(&self, branch: &str, base: Option<&str>) -> Result<Worktree, ApiError> {
        let request = CreateWorktree { base_branch: base.map(str::to_owned), ..branch_off(branch) };
        self.worktrees.create(&request, &self.project()).await
    }

    /// Everything that a worktree leaves: what git has registered, branches, and the files of paseo's home.
    fn traces(&self) -> String {
        let mut files = Vec::new();
        walk(&self.root.join("home/worktrees"), &mut files);
        let admin = std::fs::read_dir(self.project().join(".git/worktrees")).map_or(0, Iterator::count);
        format!(
            "{}\n{}\n{admin} registered\nhome: {files:?}",
            self.git(&["worktree", "list", "--porcelain"]),
            self.git(&["branch", "--format=%(refname)"]),
        )
    }

    /// Checks that git finds nothing to complain of, and no difference in the tree.
    fn assert_sound(&self, worktree: &Worktree) {
        let path = Path::new(&worktree.worktree_path);
        assert_eq!(self.git_in(path, &["status", "--porcelain"]), "", "{} is clean", worktree.worktree_path);
        assert_eq!(self.git_in(path, &["fsck", "--strict", "--no-dangling"]), "");
        let branch = worktree.branch_name.as_deref().expect("it has a branch");
        assert_eq!(self.git_in(path, &["symbolic-ref", "HEAD"]), format!("refs/heads/{branch}"));
        let listed = self.git(&["worktree", "list", "--porcelain"]);
        let entry = format!(
            "worktree {}\nHEAD {}\nbranch refs/heads/{branch}",
            worktree.worktree_path,
            self.git_in(path, &["rev-parse", "HEAD"]),
        );
        let found = listed.split("\n\n").find(|block| block.starts_with(&format!("worktree {}\n", path.display())));
        assert_eq!(found, Some(entry.as_str()), "git lists it, not locked and not prunable");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// The hands of a daemon whose home is in `root`.
fn worktrees(root: &Path) -> Worktrees {
    Worktrees::new(root.join("home"), Some(Path::new(crate::lab::PASEO)))
}

fn branch_off(branch: &str) -> CreateWorktree {
    CreateWorktree { base_branch: None, ..CreateWorktree::branch_off(branch, "") }
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        files.push(entry.path());
        if entry.path().is_dir() && !entry.path().is_symlink() {
            walk(&entry.path(), files);
        }
    }
}

#[track_caller]
fn refused(result: Result<Worktree, ApiError>, code: Code, words: &str) -> ApiError {
    let error = result.expect_err("it is refused");
    assert_eq!(error.code, code, "{error:?}");
    assert!(error.message.contains(words), "`{words}` in: {}", error.message);
    assert!(error.hint.is_some(), "a hint with: {}", error.message);
    error
}
