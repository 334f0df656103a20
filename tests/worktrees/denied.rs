//! What a user may not do: said with what to do about it, and nothing is left. Root may do everything, so that there the
//! tests run as somebody else.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use paseo_sdk::Code;

use super::{Scratch, branch_off, field, refused};

/// Whether the test goes on in this process. As root it runs in another one, where that can be.
fn goes_on_here(test: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let own = std::env::current_exe().expect("this program");
    let nobody = |program: &Path, args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program).args(args);
        command.current_dir("/").env("HOME", "/").env_remove("XDG_CONFIG_HOME").env_remove("TMPDIR").output()
    };
    let may = |program: &Path| nobody("test".as_ref(), &["-x", program.to_str().expect("UTF-8")]);
    if !may(&own).is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: nobody else may run {}", own.display());
        return false;
    }
    let name = format!("worktrees::denied::{test}");
    let done = nobody(&own, &["--exact", &name, "--nocapture"]).expect("it runs");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
    false
}

fn mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

#[tokio::test]
async fn where_nothing_may_be_written_that_is_said_and_nothing_is_left() {
    if !goes_on_here("where_nothing_may_be_written_that_is_said_and_nothing_is_left") {
        return;
    }
    let scratch = Scratch::new();
    // So that the directories are there.
    scratch.create("first").await.expect("made");
    let home = scratch.root.join("home/worktrees");
    let repository = std::fs::read_dir(&home).expect("read").flatten().next().expect("one").path();
    let git = scratch.project().join(".git");
    for place in [repository, git.join("refs/heads"), git.join("worktrees"), git] {
        let before = scratch.traces();
        mode(&place, 0o500);
        let made = scratch.create("fix-foo").await;
        mode(&place, 0o700);
        if made.as_ref().is_ok() {
            // The directories below may be written all the same.
            assert!(place.ends_with(".git"), "{}", place.display());
            continue;
        }
        let error = refused(made, Code::Unavailable, "ermission denied");
        assert!(error.hint.is_some_and(|hint| hint.contains("let your user")), "{}", place.display());
        assert!(!error.message.contains("Os {") && !error.message.contains('\n'), "{}", error.message);
        assert_eq!(scratch.traces(), before, "{}", place.display());
    }
    let scratch = Scratch::new();
    std::fs::create_dir_all(scratch.root.join("home/worktrees")).expect("made");
    mode(&scratch.root.join("home/worktrees"), 0o500);
    let error = refused(scratch.create("fix/foo").await, Code::Unavailable, "ermission denied");
    assert!(error.message.contains("home/worktrees"), "{}", error.message);
    mode(&scratch.root.join("home/worktrees"), 0o700);
    scratch.create("fix/foo").await.expect("made");
}

#[tokio::test]
async fn a_file_that_may_not_be_read_is_named_when_it_is_in_the_way() {
    if !goes_on_here("a_file_that_may_not_be_read_is_named_when_it_is_in_the_way") {
        return;
    }
    let scratch = Scratch::new();
    let made = scratch.create("fix/foo").await.expect("made");
    for name in ["secret", "README.md"] {
        let file = Path::new(&made.worktree_path).join(name);
        std::fs::write(&file, "mine alone").expect("written");
        mode(&file, 0o000);
        let error = scratch.archive("fix-foo", true).await.expect_err("it cannot be kept");
        assert!(error.message.contains(name) && error.message.contains("ermission denied"), "{error:?}");
        assert!(!error.message.contains("Os {"), "{error:?}");
        mode(&file, 0o600);
    }
    scratch.archive("fix-foo", true).await.expect("archived");
}

#[tokio::test]
async fn a_name_that_no_file_can_have_is_refused_as_such() {
    let scratch = Scratch::new();
    let before = scratch.traces();
    for name in ["x".repeat(300), format!("fix/{}", "y".repeat(251)), "z/".repeat(1500) + "z"] {
        let error = refused(
            scratch.worktrees.create(&branch_off(&name), &scratch.project()).await,
            Code::InvalidArgument,
            "too long",
        );
        assert_eq!(field(&error), "branchName");
    }
    assert_eq!(scratch.traces(), before);
    scratch.create(&"x".repeat(250)).await.expect("made");
}
