//! A disk that is full: said with what to do about it, and nothing half is left. The disks are small ones in memory, in a
//! namespace where this user may mount them.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use paseo_sdk::{ApiError, Code};

use super::Scratch;
use super::archive::{assert_gone, put};
use super::portrait::Portrait;

/// Whether the test goes on in this process: in another one, which may mount, where that can be.
fn goes_on_here(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let inside = |program: &Path, args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--"]).arg(program).args(args).env(INSIDE, "1").output()
    };
    let directory = std::env::temp_dir().display().to_string();
    let tried = inside("mount".as_ref(), &["-t", "tmpfs", "-o", "size=64k", "none", &directory]);
    if !tried.is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: nobody may mount a small disk here");
        return false;
    }
    let own = std::env::current_exe().expect("this program");
    let done = inside(&own, &["--exact", &format!("worktrees::full::{test}"), "--nocapture"]).expect("it runs");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
    false
}

/// A small disk, gone when this is dropped.
struct Disk(PathBuf);

impl Disk {
    /// Has a directory be on a disk of its own from now on, with what is in it.
    fn at(directory: &Path) -> Disk {
        let aside = directory.with_extension("aside");
        std::fs::create_dir_all(directory).expect("made");
        std::fs::rename(directory, &aside).expect("moved");
        std::fs::create_dir(directory).expect("made");
        run("mount", &["-t", "tmpfs", "-o", "size=4m", "none", &directory.display().to_string()]);
        run("cp", &["-a", &format!("{}/.", aside.display()), &directory.display().to_string()]);
        std::fs::remove_dir_all(&aside).expect("removed");
        Disk(directory.to_owned())
    }

    /// Leaves no more room than this on it, in pages.
    fn fill(&self, left: usize) {
        let mut filler = File::create(self.filler()).expect("made");
        let mut pages = 0;
        while filler.write_all(&[0; PAGE]).is_ok() {
            pages += 1;
        }
        filler.set_len(((pages - left) * PAGE) as u64).expect("cut");
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("removed");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).output().expect("it runs");
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[track_caller]
fn assert_full(error: &ApiError) {
    assert_eq!(error.code, Code::Unavailable, "{error:?}");
    assert!(error.message.contains("No space left on device") && !error.message.contains("Os {"), "{error:?}");
    assert_eq!(error.hint.as_deref(), Some("make room on the disk, then try again"));
}

/// A repository whose files need some sixty pages, and one of its directories that has a small disk of its own.
fn with_disk(directory: &str) -> (Scratch, Disk) {
    let scratch = Scratch::new();
    for number in 0..20 {
        scratch.write(&format!("many/{number}"), &format!("{number}").repeat(2 * PAGE));
    }
    scratch.commit("many files");
    let disk = Disk::at(&scratch.root.join(directory));
    (scratch, disk)
}

#[tokio::test]
async fn a_worktree_for_which_there_is_no_room_is_not_made_and_leaves_nothing() {
    if !goes_on_here("a_worktree_for_which_there_is_no_room_is_not_made_and_leaves_nothing") {
        return;
    }
    for (place, rooms) in [("home", &[0, 1, 2, 5, 20, 55, 90]), ("project/.git", &[0, 1, 2, 3, 4, 6, 40])] {
        let (scratch, disk) = with_disk(place);
        // So that the directories are there.
        scratch.create("first").await.expect("made");
        let before = scratch.traces();
        let mut ended = Vec::new();
        for pages in rooms {
            disk.fill(*pages);
            let made = scratch.create("fix/foo").await;
            ended.push(made.is_ok());
            match made {
                Ok(made) => scratch.worktrees.roll_back(&made).await.expect("rolled back"),
                Err(error) => assert_full(&error),
            }
            assert_eq!(scratch.traces(), before, "{place} with room for {pages} pages");
            disk.make_room();
        }
        assert_eq!((ended.first(), ended.last()), (Some(&false), Some(&true)), "{place}: {ended:?}");
        scratch.assert_sound(&scratch.create("fix/foo").await.expect("made"));
    }
}

#[tokio::test]
async fn what_there_is_no_room_for_is_not_archived_and_stays() {
    if !goes_on_here("what_there_is_no_room_for_is_not_archived_and_stays") {
        return;
    }
    let (scratch, disk) = with_disk("project/.git");
    let tree = scratch.tree("fix/foo").await;
    for number in 0..4 {
        let noise: Vec<_> = (0..400 * 16).map(|at: u32| at.wrapping_mul(2_654_435_761 + number).to_string()).collect();
        put(&tree, &format!("new/{number}"), &noise.concat());
    }
    let (before, traces) = (Portrait::of(&tree), scratch.traces());
    for pages in [0, 1, 2, 3, 4, 8, 16] {
        disk.fill(pages);
        assert_full(&scratch.archive("fix-foo", true).await.expect_err("there is no room"));
        before.assert_same(&Portrait::of(&tree), "after it failed");
        assert_eq!(scratch.traces(), traces);
        disk.make_room();
    }
    let archived = scratch.archive("fix-foo", true).await.expect("archived");
    assert_gone(&scratch, &tree, &archived);
    scratch.restore("fix-foo").await.expect("restored");
    before.assert_same(&Portrait::of(&tree), "after it came back");
}

#[tokio::test]
async fn what_there_is_no_room_for_does_not_come_back_and_stays_archived() {
    if !goes_on_here("what_there_is_no_room_for_does_not_come_back_and_stays_archived") {
        return;
    }
    for (place, rooms) in [("home", &[0, 1, 2, 5, 20, 55]), ("project/.git", &[0, 1, 2, 3, 4, 6])] {
        let (scratch, disk) = with_disk(place);
        scratch.create("first").await.expect("made");
        let tree = scratch.tree("fix/foo").await;
        put(&tree, "new", "new\n");
        let before = Portrait::of(&tree);
        scratch.archive("fix-foo", true).await.expect("archived");
        let traces = scratch.traces();
        for pages in rooms {
            disk.fill(*pages);
            assert_full(&scratch.restore("fix-foo").await.expect_err("there is no room"));
            assert_eq!(scratch.traces(), traces, "{place} with room for {pages} pages");
            disk.make_room();
        }
        scratch.restore("fix-foo").await.expect("restored");
        before.assert_same(&Portrait::of(&tree), place);
    }
}

/// Says to this program that it runs where it may mount.
const INSIDE: &str = "PASEO_TEST_MAY_MOUNT";

const PAGE: usize = 4096;
