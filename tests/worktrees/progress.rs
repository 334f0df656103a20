//! How far the making of a worktree is.

use std::sync::{Arc, Mutex};

use paseo_daemon::worktrees::Worktrees;
use paseo_sdk::model::Progress;
use paseo_sdk::operation::Reporter;

use super::{Scratch, branch_off};

type Heard = Arc<Mutex<Vec<Progress>>>;

fn listening(scratch: &Scratch) -> (Worktrees, Heard) {
    let heard = Heard::default();
    let told = heard.clone();
    let reporter = Reporter::new(move |progress| told.lock().expect("no panic").push(progress));
    (scratch.worktrees.with_progress(reporter), heard)
}

#[tokio::test]
async fn a_checkout_says_how_many_files_and_bytes_of_all_there_are() {
    let scratch = Scratch::new();
    let mut bytes = "hello\n".len();
    for number in 0..400 {
        let content = "x".repeat(number);
        bytes += content.len();
        scratch.write(&format!("many/{number}"), &content);
    }
    std::os::unix::fs::symlink("README.md", scratch.project().join("link")).expect("a link can be made");
    bytes += "README.md".len();
    scratch.commit("many files");
    let (worktrees, heard) = listening(&scratch);
    let made = worktrees.create(&branch_off("fix/foo"), &scratch.project()).await.expect("made");
    scratch.assert_sound(&made);
    let heard = std::mem::take(&mut *heard.lock().expect("no panic"));
    let last = Progress {
        step: "checkout".to_owned(),
        message: Some("checking out fix/foo".to_owned()),
        done: Some(402),
        total: Some(402),
        unit: Some("files".to_owned()),
        bytes: Some(i64::try_from(bytes).expect("they are few")),
    };
    assert_eq!(heard.last(), Some(&last));
    assert!(heard.is_sorted_by_key(|progress| (progress.done, progress.bytes)), "{heard:?}");

    // What is there needs no checkout.
    let (worktrees, heard) = listening(&scratch);
    worktrees.create(&branch_off("fix/foo"), &scratch.project()).await.expect("found");
    assert_eq!(*heard.lock().expect("no panic"), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_hears_of_their_own_worktree() {
    let scratch = Arc::new(Scratch::new());
    let tasks: Vec<_> = (0..12)
        .map(|number| {
            let scratch = scratch.clone();
            let (worktrees, heard) = listening(&scratch);
            tokio::spawn(async move {
                let branch = format!("parallel/{number}");
                let (request, project) = (branch_off(&branch), scratch.project());
                let creation = worktrees.create(&request, &project);
                if number % 3 == 0 {
                    // Somebody who asks and goes changes nothing for the others.
                    let goes = async {
                        for _ in 0..number * 100 {
                            tokio::task::yield_now().await;
                        }
                    };
                    tokio::select! {
                        () = goes => {}
                        made = creation => drop(made.expect("made")),
                    }
                    return;
                }
                creation.await.expect("made");
                let heard = std::mem::take(&mut *heard.lock().expect("no panic"));
                let messages: Vec<_> = heard.into_iter().filter_map(|progress| progress.message).collect();
                let own = format!("checking out {branch}");
                assert!(!messages.is_empty() && messages.iter().all(|message| *message == own), "{messages:?}");
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
}

#[tokio::test]
async fn a_checkout_that_fails_says_how_far_it_came() {
    let scratch = Scratch::new();
    scratch.write(".gitattributes", "*.x filter=broken\n");
    scratch.write("a.x", "content\n");
    scratch.commit("filtered");
    scratch.git(&["config", "filter.broken.smudge", "false"]);
    scratch.git(&["config", "filter.broken.required", "true"]);
    let (worktrees, heard) = listening(&scratch);
    worktrees.create(&branch_off("fix/foo"), &scratch.project()).await.expect_err("the filter fails");
    let heard = std::mem::take(&mut *heard.lock().expect("no panic"));
    let last = heard.last().expect("it was begun");
    assert!(last.done < last.total, "{last:?}");
}
