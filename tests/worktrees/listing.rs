//! What `list` shows, right after creation and later.

use std::path::Path;

use paseo_sdk::Code;
use paseo_sdk::model::ListedWorktree;

use super::{Scratch, branch_off};

impl Scratch {
    pub(super) async fn list(&self) -> Vec<ListedWorktree> {
        self.worktrees.list(Some(&self.project()), false).await.expect("listed")
    }

    pub(super) async fn only(&self) -> ListedWorktree {
        let mut listed = self.list().await;
        assert_eq!(listed.len(), 1, "{listed:?}");
        listed.remove(0)
    }
}

#[tokio::test]
async fn a_new_worktree_is_clean_and_level_with_its_base() {
    let scratch = Scratch::new();
    let made = scratch.create("fix/foo").await.expect("made");
    let listed = scratch.only().await;
    assert_eq!(listed.worktree_path, made.worktree_path);
    assert_eq!(listed.worktree_slug, "fix-foo");
    assert_eq!(Path::new(&listed.repository), scratch.project());
    assert_eq!(listed.branch_name.as_deref(), Some("fix/foo"));
    assert_eq!(listed.head_commit, made.base_commit);
    assert_eq!(listed.base_branch.as_deref(), Some("main"));
    assert_eq!((listed.dirty, listed.ahead, listed.behind), (false, Some(0), Some(0)));
    assert!(listed.created_at.is_some() && listed.trusted && listed.problem.is_none() && listed.agents.is_empty());
}

#[tokio::test]
async fn changes_and_commits_show() {
    let scratch = Scratch::new();
    scratch.write(".gitignore", "*.o\n");
    scratch.commit("ignore");
    scratch.git(&["config", "status.showUntrackedFiles", "no"]);
    let made = scratch.create("fix/foo").await.expect("made");
    let path = Path::new(&made.worktree_path);
    std::fs::write(path.join("x.o"), "ignored").expect("written");
    std::fs::create_dir(path.join("empty")).expect("made");
    assert!(!scratch.only().await.dirty, "ignored files and empty directories do not count");
    std::fs::write(path.join("new"), "untracked").expect("written");
    assert!(scratch.only().await.dirty, "an untracked file counts, whatever the configuration shows");
    scratch.git_in(path, &["add", "new"]);
    assert!(scratch.only().await.dirty, "a staged file counts");
    scratch.git_in(path, &["commit", "--quiet", "-m", "one"]);
    scratch.git_in(path, &["commit", "--quiet", "--allow-empty", "-m", "two"]);
    scratch.commit("main goes on");
    let listed = scratch.only().await;
    assert_eq!((listed.dirty, listed.ahead, listed.behind), (false, Some(2), Some(1)));
    assert_eq!(listed.head_commit.as_deref(), Some(scratch.git_in(path, &["rev-parse", "HEAD"]).as_str()));
    // The same length as before, so only its content tells.
    std::fs::write(path.join("README.md"), "HELLO\n").expect("written");
    assert!(scratch.only().await.dirty, "a changed file counts");
    scratch.git_in(path, &["checkout", "--quiet", "README.md"]);
    scratch.git_in(path, &["merge", "--quiet", "-m", "merge", "main"]);
    let listed = scratch.only().await;
    assert_eq!((listed.dirty, listed.ahead, listed.behind), (false, Some(3), Some(0)));
    for (range, count) in [("main..fix/foo", listed.ahead), ("fix/foo..main", listed.behind)] {
        assert_eq!(scratch.git(&["rev-list", "--count", range]), count.expect("known").to_string(), "as git counts");
    }
}

#[tokio::test]
async fn a_base_that_is_gone_is_still_known_by_its_commit() {
    let scratch = Scratch::new();
    scratch.git(&["branch", "develop"]);
    let made = scratch.create_from("fix/foo", Some("develop")).await.expect("made");
    scratch.git(&["branch", "-D", "develop"]);
    scratch.git_in(Path::new(&made.worktree_path), &["commit", "--quiet", "--allow-empty", "-m", "one"]);
    let listed = scratch.only().await;
    assert_eq!((listed.base_branch.as_deref(), listed.ahead, listed.behind), (Some("develop"), Some(1), Some(0)));
    assert!(!scratch.create_from("fix/foo", Some("develop")).await.expect("found").created);
}

#[tokio::test]
async fn worktrees_of_others_are_listed_and_one_that_is_broken_hides_none() {
    let scratch = Scratch::new();
    let theirs = scratch.root.join("theirs");
    scratch.git(&["worktree", "add", "--quiet", "--detach", theirs.to_str().expect("UTF-8")]);
    for branch in ["gone", "unlinked", "no-note", "bad-index", "fine"] {
        scratch.create(branch).await.expect("made");
    }
    let path = |slug: &str| {
        let made = std::fs::read_dir(scratch.root.join("home/worktrees")).expect("there").flatten().next();
        made.expect("one repository").path().join(slug)
    };
    let admin = scratch.project().join(".git/worktrees");
    std::fs::remove_dir_all(path("gone")).expect("removed");
    std::fs::remove_file(path("unlinked").join(".git")).expect("removed");
    std::fs::write(admin.join("no-note/paseo.json"), "{").expect("damaged");
    std::fs::write(admin.join("bad-index/index"), "DIRC").expect("damaged");
    let listed = scratch.list().await;
    let of = |slug: &str| listed.iter().find(|tree| tree.worktree_slug == slug).expect("listed");
    assert_eq!(listed.len(), 6);
    assert!(of("gone").problem.as_ref().is_some_and(|why| why.contains("git worktree prune")));
    assert!(of("unlinked").problem.as_ref().is_some_and(|why| why.contains("git worktree repair")));
    assert!(of("no-note").problem.as_ref().is_some_and(|why| why.contains("paseo.json")));
    assert!(of("bad-index").problem.is_some() && of("bad-index").dirty);
    assert_eq!((&of("fine").problem, of("fine").dirty), (&None, false));
    let theirs = of("theirs");
    assert_eq!((&theirs.branch_name, &theirs.base_branch, theirs.created_at), (&None, &None, None));
    assert_eq!((theirs.dirty, theirs.ahead, &theirs.problem), (false, None, &None));
}

#[tokio::test]
async fn all_repositories_are_found_by_their_worktrees() {
    let scratch = Scratch::new();
    scratch.create("fix/foo").await.expect("made");
    for name in ["second", "third"] {
        let other = scratch.root.join(name);
        scratch.git_in(&scratch.root, &["init", "--quiet", "--initial-branch=main", name]);
        scratch.git_in(&other, &["commit", "--quiet", "--allow-empty", "-m", "start"]);
        scratch.worktrees.create(&branch_off("fix/bar"), &other).await.expect("made");
    }
    std::fs::remove_dir_all(scratch.root.join("third")).expect("removed");
    let listed = scratch.worktrees.list(None, true).await.expect("listed");
    let shown: Vec<_> = listed
        .iter()
        .map(|tree| {
            let repository = Path::new(&tree.repository).file_name().and_then(|name| name.to_str());
            (repository.expect("a name"), tree.branch_name.as_deref(), tree.problem.is_some())
        })
        .collect();
    assert_eq!(shown, [("project", Some("fix/foo"), false), ("second", Some("fix/bar"), false), ("third", None, true)]);
    let error = scratch.worktrees.list(None, false).await.expect_err("which repository?");
    assert_eq!(error.code, Code::InvalidArgument);
    assert!(scratch.worktrees.list(Some(Path::new("/")), false).await.is_err());
}

#[tokio::test]
async fn a_file_that_changed_right_after_the_checkout_is_noticed() {
    let scratch = Scratch::new();
    for number in 0..30 {
        let made = scratch.create(&format!("fix/{number}")).await.expect("made");
        // As long as before, in the same file, within the same second as the index.
        std::fs::write(Path::new(&made.worktree_path).join("README.md"), "HELLO\n").expect("written");
        assert!(scratch.list().await.iter().all(|tree| tree.dirty), "after {number}");
    }
}

#[tokio::test]
async fn what_differs_only_between_index_and_head_is_noticed() {
    let scratch = Scratch::new();
    let made = scratch.create("fix/foo").await.expect("made");
    let path = Path::new(&made.worktree_path);
    scratch.git_in(path, &["rm", "--quiet", "--cached", "README.md"]);
    std::fs::write(scratch.project().join(".git/info/exclude"), "README.md\n").expect("written");
    assert!(scratch.only().await.dirty, "a file that only the head has");
    scratch.git_in(path, &["commit", "--quiet", "-m", "no more"]);
    assert!(!scratch.only().await.dirty);
    // The files are as the index has them, and the index knows of itself which commit it was.
    scratch.git_in(path, &["reset", "--quiet", "--soft", "HEAD~1"]);
    let listed = scratch.only().await;
    assert_eq!((listed.dirty, listed.ahead), (true, Some(0)), "another head than the index is of");
    scratch.git_in(path, &["reset", "--quiet", "--hard"]);
    std::fs::write(path.join("new"), "").expect("written");
    scratch.git_in(path, &["add", "--intent-to-add", "new"]);
    assert!(scratch.only().await.dirty, "a file that shall be added");
}

#[tokio::test]
async fn many_worktrees_are_listed_by_path_however_they_are_read() {
    let scratch = Scratch::new();
    for number in 0..24 {
        scratch.create(&format!("fix/{number}")).await.expect("made");
    }
    let listed = scratch.list().await;
    let paths: Vec<_> = listed.iter().map(|tree| &tree.worktree_path).collect();
    assert_eq!(paths.len(), 24);
    assert!(paths.is_sorted(), "{paths:?}");
    for tree in &listed {
        let name = tree.branch_name.as_deref().and_then(|name| name.strip_prefix("fix/")).expect("its own branch");
        assert_eq!(tree.worktree_slug, format!("fix-{name}"));
    }
    let again: Vec<_> = scratch.list().await.into_iter().map(|tree| tree.worktree_path).collect();
    assert_eq!(again.iter().collect::<Vec<_>>(), paths);
}

/// What people do with worktrees, at random, and after every few of it git is asked the same.
#[tokio::test]
async fn what_is_listed_is_what_git_says() {
    let scratch = Scratch::new();
    for number in 0..12 {
        scratch.write(&format!("src/part-{}/file-{number}.rs", number % 3), &format!("file {number}\n"));
    }
    scratch.commit("files");
    let mut trees = Vec::new();
    for number in 0..5 {
        trees.push(scratch.create(&format!("fix/{number}")).await.expect("made").worktree_path);
    }
    let mut random = Random(7);
    for step in 0..120 {
        let tree = Path::new(&trees[random.below(trees.len())]);
        let number = random.below(12);
        let file = format!("src/part-{}/file-{number}.rs", number % 3);
        let done = random.below(DEEDS.len());
        let script = DEEDS[done].replace("$f", &file).replace("$n", &step.to_string());
        let script = format!("cd '{}'; {script}", tree.display());
        let mut shell = std::process::Command::new("/bin/sh");
        // What cannot be done, such as a commit of nothing, changes nothing.
        let git = scratch.command(tree, &[]);
        let shell = shell.args(["-c", &script]).envs(git.get_envs().filter_map(|(name, value)| Some((name, value?))));
        for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            shell.env(format!("{name}_NAME"), "Test").env(format!("{name}_EMAIL"), "test@localhost");
        }
        shell.output().expect("a shell");
        if step % 3 == 0 {
            for (tree, listed) in trees.iter().zip(scratch.list().await) {
                let why = format!("{tree} after {step}: {script}");
                assert_eq!(*tree, listed.worktree_path, "{why}");
                assert_eq!(listed.problem, None, "{why}");
                let ask = |args: &[&str]| scratch.git_in(Path::new(tree), args);
                // Without locks, so that git does not tidy up what is looked at next.
                let status = ask(&["--no-optional-locks", "status", "--porcelain"]);
                assert_eq!(listed.dirty, !status.is_empty(), "{why}: {status}");
                let counts = ask(&["rev-list", "--left-right", "--count", "HEAD...main"]);
                let ours = format!("{}\t{}", listed.ahead.expect("known"), listed.behind.expect("known"));
                assert_eq!(ours, counts, "{why}");
                assert_eq!(listed.head_commit, Some(ask(&["rev-parse", "HEAD"])), "{why}");
            }
        }
    }
}

/// `$f` is a file that was there at first, `$n` a number.
const DEEDS: [&str; 16] = [
    "echo 'file X' > $f",
    "echo 'something longer' > $f",
    "git checkout --quiet HEAD -- $f",
    "git add --all",
    "git commit --quiet --all -m $n",
    "git commit --quiet --all -m $n",
    "rm -f $f",
    "chmod +x $f",
    "touch $f",
    "echo new > untracked-$n",
    "git clean --quiet --force",
    "git reset --quiet --hard",
    "git reset --quiet --soft HEAD~1",
    "git merge --quiet -m $n main",
    "git add --all; git checkout --quiet HEAD -- $f",
    "cd \"$(git rev-parse --git-common-dir)/..\"; echo $n > main-$n; git add --all; git commit --quiet -m $n",
];

/// Numbers that look random, and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }
}
