//! Worktrees on real repositories, made with the `git` command.

mod archive;
mod begun;
mod checkout;
mod create;
mod denied;
mod exact;
mod fetch;
mod full;
mod head;
mod interrupted;
mod kinds;
mod listing;
mod model;
mod partial;
mod portrait;
mod progress;
mod pull;
mod restore;
mod trust;
mod undone;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use paseo_daemon::worktrees::Worktrees;
use paseo_sdk::catalogue::{CreateWorktree, WorktreeAction};
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

    async fn check_out(&self, ref_name: &str) -> Result<Worktree, ApiError> {
        self.worktrees.create(&checkout(ref_name), &self.project()).await
    }

    async fn pull_request(&self, number: i64) -> Result<Worktree, ApiError> {
        self.worktrees.create(&pull_request(number), &self.project()).await
    }

    /// Adds a remote, a bare repository beside the project with the branches that the project has.
    fn remote(&self, name: &str) -> PathBuf {
        let path = self.bare(name);
        self.git(&["remote", "add", name, path.to_str().expect("UTF-8")]);
        self.git(&["push", "--quiet", name, "--all"]);
        self.git(&["fetch", "--quiet", name]);
        path
    }

    /// Makes an empty bare repository beside the project.
    fn bare(&self, name: &str) -> PathBuf {
        let path = self.root.join(format!("{name}.git"));
        self.git_in(&self.root, &["init", "--quiet", "--bare", "--initial-branch=main", path.to_str().expect("UTF-8")]);
        path
    }

    /// Has somebody else commit a file on top of a reference of a remote, and push that as another one.
    fn publish(&self, remote: &Path, from: &str, file: &str, to: &str) -> String {
        let clone = remote.with_extension("clone");
        if !clone.exists() {
            let paths = [remote, &clone].map(|path| path.to_str().expect("UTF-8"));
            self.git_in(&self.root, &["clone", "--quiet", paths[0], paths[1]]);
        }
        self.git_in(&clone, &["fetch", "--quiet", "origin", from]);
        self.git_in(&clone, &["checkout", "--quiet", "--detach", "FETCH_HEAD"]);
        std::fs::write(clone.join(file), format!("{file}\n")).expect("the file can be written");
        self.git_in(&clone, &["add", "--all"]);
        self.git_in(&clone, &["commit", "--quiet", "-m", file]);
        self.git_in(&clone, &["push", "--quiet", "origin", &format!("HEAD:{to}")]);
        self.git_in(&clone, &["rev-parse", "HEAD"])
    }

    /// Everything that a worktree leaves: what git has registered, references, configuration, and the files of paseo's home.
    fn traces(&self) -> String {
        let (mut files, mut refs) = (Vec::new(), Vec::new());
        walk(&self.root.join("home/worktrees"), &mut files);
        let git = self.project().join(".git");
        ["refs/heads", "refs/paseo", "logs/refs/heads"].iter().for_each(|name| walk(&git.join(name), &mut refs));
        refs.retain(|path| path.is_file());
        refs.sort();
        let read = |name: &str| std::fs::read_to_string(git.join(name));
        let admin = std::fs::read_dir(git.join("worktrees")).map_or(0, Iterator::count);
        format!(
            "{}\n{}\n{admin} registered\nhome: {files:?}\n{refs:?}\n{:?}\n{:?}\n{:?}",
            self.git(&["worktree", "list", "--porcelain"]),
            self.git(&["for-each-ref", "--format=%(refname) %(objectname)", "--exclude=refs/remotes"]),
            read("config").expect("there is one"),
            read("paseo-push.config").ok(),
            read("FETCH_HEAD").ok(),
        )
    }

    /// Checks that git finds nothing to complain of, and no difference in the tree.
    fn assert_sound(&self, worktree: &Worktree) {
        let path = Path::new(&worktree.worktree_path);
        assert_eq!(self.git_in(path, &["status", "--porcelain"]), "", "{} is clean", worktree.worktree_path);
        assert_eq!(self.git_in(path, &["fsck", "--strict", "--no-dangling"]), "");
        let on = match &worktree.branch_name {
            Some(branch) => {
                assert_eq!(self.git_in(path, &["symbolic-ref", "HEAD"]), format!("refs/heads/{branch}"));
                format!("branch refs/heads/{branch}")
            }
            None => "detached".to_owned(),
        };
        let head = self.git_in(path, &["rev-parse", "HEAD"]);
        let listed = self.git_in(path, &["worktree", "list", "--porcelain"]);
        let entry = format!("worktree {}\nHEAD {head}\n{on}", worktree.worktree_path);
        let found = listed.split("\n\n").find(|block| block.starts_with(&format!("worktree {}\n", path.display())));
        assert_eq!(found, Some(entry.as_str()), "git lists it, not locked and not prunable");
    }

    /// Returns the commit of a reference in a repository.
    fn commit_of(&self, directory: impl AsRef<Path>, reference: &str) -> String {
        self.git_in(directory.as_ref(), &["rev-parse", "--verify", &format!("{reference}^{{commit}}")])
    }

    /// Commits in a worktree and pushes that as git does when it is told nothing more.
    fn push_from(&self, worktree: &Worktree) -> String {
        let path = Path::new(&worktree.worktree_path);
        self.git_in(path, &["commit", "--quiet", "--allow-empty", "-m", "more"]);
        self.git_in(path, &["push", "--quiet"]);
        self.commit_of(path, "HEAD")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// The hands of a daemon whose home is in `root`.
fn worktrees(root: &Path) -> Worktrees {
    let path = format!("{}:{}", root.join("bin").display(), std::env::var("PATH").expect("there is one"));
    let home = root.display().to_string();
    let env = [
        ("PATH", path.as_str()),
        ("HOME", &home),
        ("SHELL", "/bin/sh"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Worktrees::with_env(root.join("home"), Some(Path::new(crate::lab::PASEO)), env)
}

fn checkout(ref_name: &str) -> CreateWorktree {
    let action = Some(WorktreeAction::Checkout);
    CreateWorktree { action, ref_name: Some(ref_name.to_owned()), ..CreateWorktree::default() }
}

fn pull_request(number: i64) -> CreateWorktree {
    CreateWorktree { github_pr_number: Some(number), ..CreateWorktree::default() }
}

/// Returns the field that an error is about.
fn field(error: &ApiError) -> String {
    let details = error.details.as_ref().expect("details");
    details["field"].as_str().expect("a field").to_owned()
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
