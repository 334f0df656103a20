//! Lines on worktrees: what it costs to make one, and to list fifty, beside the `git` command.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use paseo_daemon::worktrees::Worktrees;
use paseo_sdk::Client;
use paseo_sdk::catalogue::CreateWorktree;
use paseo_sdk::model::ListedWorktree;

use crate::Result;
use crate::lines::command;
use crate::stage::Stage;
use crate::table::{self, Figures, Unit};

/// Every line on worktrees, in a new repository of each size.
pub(crate) async fn all(stage: &Stage, sizes: &[usize]) -> Result<()> {
    let mut projects = Vec::new();
    for files in sizes {
        projects.push(Project::new(stage, *files)?);
        let project = projects.last().ok_or("it was made just now")?;
        let worktrees = Worktrees::new(project.home(), Some(stage.program()));
        create(project, &Hands::Library(&worktrees), "").await?;
        if *files <= SMALL {
            let daemon = stage.daemon()?;
            create(project, &Hands::Daemon(stage.client()), ", daemon").await?;
            daemon.stop()?;
        }
        if *files <= LISTED {
            list(project, &worktrees).await?;
            create(project, &Hands::Library(&worktrees), ", the 51st").await?;
        }
    }
    Ok(())
}

/// Who makes and lists worktrees.
enum Hands<'a> {
    /// The library of the daemon, in this process.
    Library(&'a Worktrees),
    /// A daemon, over its socket.
    Daemon(Client),
}

impl Hands<'_> {
    async fn create(&self, project: &Project, branch: &str) -> Result<PathBuf> {
        let cwd = project.repository();
        let request = CreateWorktree::branch_off(branch, "main").cwd(cwd.display().to_string());
        let made = match self {
            Hands::Library(worktrees) => worktrees.create(&request, &cwd).await?,
            Hands::Daemon(client) => client.create_worktree(request).await?,
        };
        match made.created {
            true => Ok(made.worktree_path.into()),
            false => Err(format!("{branch} was there before").into()),
        }
    }
}

/// From the request to the answer, beside `git worktree add`, both with a new branch.
async fn create(project: &Project, hands: &Hands<'_>, which: &str) -> Result<()> {
    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    let rounds = match project.files {
        0..LISTED => ROUNDS,
        LISTED => FEW_ROUNDS,
        _ => FEWEST_ROUNDS,
    };
    let theirs = project.directory.join("theirs");
    // The first ones, for which everything is read from the disk, do not count.
    for round in 0..=rounds {
        // Whoever comes second meets what the first has left to be written, so they take turns at that, too.
        for turn in 0..2 {
            rustix::fs::sync();
            let ours_now = (round + turn) % 2 == 0;
            let branch = if ours_now { format!("ours/{round}") } else { format!("theirs/{round}") };
            let (seconds, tree) = match ours_now {
                true => {
                    let begun = Instant::now();
                    let tree = hands.create(project, &branch).await?;
                    (begun.elapsed().as_secs_f64(), tree)
                }
                false => {
                    let mut add = project.git(&["worktree", "add", "--quiet", "-b", &branch]);
                    (command(add.arg(&theirs).arg("main"))?, theirs.clone())
                }
            };
            // What was made is what was asked for, or the times say nothing.
            project.check(&tree)?;
            project.remove(&tree, &branch)?;
            if round > 0 {
                if ours_now { &mut ours } else { &mut gits }.push(seconds);
            }
        }
    }
    race(&format!("a worktree of {} files{which}", project.files), ours, "git worktree add", gits, "not slower");
    Ok(())
}

/// All fifty, beside `git worktree list` and a `git status --porcelain` in each: as they were made, when no `git status` has
/// brought their indices up to date, and later, when people have worked in them.
async fn list(project: &Project, worktrees: &Worktrees) -> Result<()> {
    let hands = Hands::Library(worktrees);
    let mut trees = Vec::new();
    for number in 0..TREES {
        trees.push(hands.create(project, &format!("list/{number}")).await?);
    }
    beside_git(project, worktrees, &trees, "just made", 0).await?;
    for (number, tree) in trees.iter().enumerate() {
        if number % 2 == 0 {
            std::fs::write(tree.join(project.path(number)), "changed\n")?;
            command(project.git_in(tree).args(["commit", "--quiet", "--all", "--message", "a change"]))?;
        }
        if number % DIRTY == 0 {
            std::fs::write(tree.join(project.path(number)), "changed again\n")?;
        }
        // From here on every index is as `git` likes it.
        command(project.git_in(tree).args(["status", "--porcelain"]))?;
    }
    let dirty = TREES.div_ceil(DIRTY);
    beside_git(project, worktrees, &trees, "worked in", dirty).await
}

async fn beside_git(
    project: &Project,
    worktrees: &Worktrees,
    trees: &[PathBuf],
    when: &str,
    dirty: usize,
) -> Result<()> {
    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    for round in 0..=LISTS {
        let mut one = 0.0;
        let mut other = 0.0;
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let begun = Instant::now();
                let listed = worktrees.list(Some(&project.repository()), false).await?;
                one = begun.elapsed().as_secs_f64();
                as_expected(&listed, dirty)?;
            } else {
                other = command(&mut project.git(&["worktree", "list", "--porcelain"]))?;
                for tree in trees {
                    let mut status = project.git_in(tree);
                    // Without locks it leaves the index as it is, or only the first round would be about new trees.
                    other += command(status.env("GIT_OPTIONAL_LOCKS", "0").args(["status", "--porcelain"]))?;
                }
            }
        }
        if round > 0 {
            ours.push(one);
            gits.push(other);
        }
    }
    let what = format!("{TREES} of {} files listed, {when}", project.files);
    race(&what, ours, "git list, status", gits, "faster");
    Ok(())
}

fn as_expected(listed: &[ListedWorktree], dirty: usize) -> Result<()> {
    let found = listed.iter().filter(|tree| tree.dirty).count();
    match (listed.len(), found, listed.iter().find(|tree| tree.problem.is_some())) {
        (TREES, found, None) if found == dirty => Ok(()),
        (count, found, problem) => Err(format!("{count} listed, {found} of them dirty, {problem:?}").into()),
    }
}

fn race(what: &str, ours: Vec<f64>, beside: &str, gits: Vec<f64>, aim: &str) {
    table::race(what, &Figures::new(Unit::Seconds, ours), beside, &Figures::new(Unit::Seconds, gits), aim);
}

/// A repository with so many files, and the homes beside it. Gone with this.
struct Project {
    directory: PathBuf,
    files: usize,
}

impl Project {
    /// Makes the repository as one has it who has worked there for a while: packed, with a history, checked out.
    fn new(stage: &Stage, files: usize) -> Result<Project> {
        let project = Project { directory: stage.work().join(format!("project-{files}")), files };
        std::fs::create_dir_all(project.repository())?;
        command(&mut project.git(&["init", "--quiet", "--initial-branch=main"]))?;
        let mut import = project.git(&["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn()?;
        let input = import.stdin.take().ok_or("it is piped")?;
        project.history(&mut BufWriter::with_capacity(1 << 20, input))?;
        if !import.wait()?.success() {
            return Err("git fast-import failed".into());
        }
        command(&mut project.git(&["gc", "--quiet"]))?;
        command(&mut project.git(&["reset", "--quiet", "--hard", "main"]))?;
        Ok(project)
    }

    fn repository(&self) -> PathBuf {
        self.directory.join("repository")
    }

    /// Where the library keeps its worktrees.
    fn home(&self) -> PathBuf {
        self.directory.join("home")
    }

    /// Returns where a file is: 25 in each directory, 20 of these in each above.
    fn path(&self, number: usize) -> String {
        let number = number % self.files;
        format!("part-{}/module-{}/file-{number}.rs", number / 500, number / 25 % 20)
    }

    /// Writes what `git fast-import` reads: all files in the first commit, then commits that change a few.
    fn history(&self, input: &mut impl Write) -> Result<()> {
        let mut random = Random(self.files as u64);
        for commit in 0..COMMITS {
            let time = 1_700_000_000 + commit * 60;
            writeln!(
                input,
                "commit refs/heads/main\ncommitter Bench <bench@localhost> {time} +0000\ndata 8\na change"
            )?;
            let changed = if commit == 0 { self.files } else { self.files.min(5) };
            for number in 0..changed {
                let number = if commit == 0 { number } else { random.below(self.files) };
                let content = random.text();
                writeln!(input, "M 100644 inline {}\ndata {}\n{content}", self.path(number), content.len())?;
            }
        }
        Ok(input.flush()?)
    }

    fn git(&self, args: &[&str]) -> Command {
        let mut command = self.git_in(&self.repository());
        command.args(args);
        command
    }

    /// The user's `git` in a directory; what is configured for the user counts for both.
    fn git_in(&self, directory: &Path) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(directory);
        for (name, value) in [("NAME", "Bench"), ("EMAIL", "bench@localhost")] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        command
    }

    /// Checks that a tree has every file.
    fn check(&self, tree: &Path) -> Result<()> {
        let last = self.path(self.files - 1);
        let same = std::fs::metadata(tree.join(&last))?.len() == std::fs::metadata(self.repository().join(last))?.len();
        if same { Ok(()) } else { Err(format!("{} is not complete", tree.display()).into()) }
    }

    /// Takes a worktree and its branch from the repository. The files stay until the end, elsewhere: for minutes after
    /// many were deleted, ext4 makes each new one slowly, and that would be most of what is measured.
    fn remove(&self, tree: &Path, branch: &str) -> Result<()> {
        let removed = self.directory.join("removed");
        std::fs::create_dir_all(&removed)?;
        let number = std::fs::read_dir(&removed)?.count();
        std::fs::rename(tree, removed.join(number.to_string()))?;
        command(&mut self.git(&["worktree", "prune"]))?;
        command(&mut self.git(&["branch", "--quiet", "-D", branch]))?;
        Ok(())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Numbers that look random, and are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).unwrap_or(0) % end
    }

    /// Writes a file as programs have it: a few KiB, some many, which pack as well as such text does.
    fn text(&mut self) -> String {
        let lines = match self.below(100) {
            0 => 2_000,
            _ => 20 + self.below(130),
        };
        let mut text = String::new();
        for _ in 0..lines {
            let words = 2 + self.below(5);
            for _ in 0..words {
                let word = WORDS[self.below(WORDS.len())];
                let _ = write!(text, "{word}_{} ", self.below(64));
            }
            text.push('\n');
        }
        text
    }
}

const WORDS: [&str; 16] = [
    "let", "match", "value", "self", "request", "answer", "Ok", "error", "worktree", "path", "commit", "if", "return",
    "state", "index", "fn",
];

/// The sizes of repositories, in files.
pub(crate) const SIZES: [usize; 3] = [SMALL, LISTED, 50_000];
const SMALL: usize = 30;
/// The largest of which fifty worktrees are not too much for a disk.
const LISTED: usize = 5_000;
const TREES: usize = 50;
/// Every so many of them has an uncommitted change.
const DIRTY: usize = 10;
const COMMITS: usize = 200;
const ROUNDS: usize = 20;
const FEW_ROUNDS: usize = 7;
const FEWEST_ROUNDS: usize = 3;
const LISTS: usize = 5;
