//! How far a call is, from the checkout to whoever called.

use std::fs::OpenOptions;
use std::io::Write as _;

use paseo_sdk::Client;
use paseo_sdk::catalogue::CreateWorktree;
use paseo_sdk::model::{Progress, WaitOutcome};
use tokio::sync::mpsc;

use crate::lab::Lab;

/// Makes a repository with many files, and one whose checkout waits until something is written to the pipe `gate`.
async fn repository(lab: &Lab, client: &Client) {
    lab.fifo("gate");
    let gate = lab.work().join("gate");
    let script = format!(
        "git init -q -b main && mkdir many && for n in $(seq 300); do echo $n > many/$n; done && \
         echo '*.gated filter=gate' > .gitattributes && echo last > z.gated && echo gate > .gitignore && \
         git add . && git -c user.name=t -c user.email=t@t commit -q -m first && \
         git config filter.gate.smudge 'cat {0} > /dev/null; cat' && git config filter.gate.required true",
        gate.display()
    );
    let done = client.create_agent(lab.script(&script)).await.expect("it runs");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
}

fn listening(client: &Client) -> (Client, mpsc::UnboundedReceiver<Progress>) {
    let (tells, heard) = mpsc::unbounded_channel();
    let client = client.with_progress(move |progress| {
        let _ = tells.send(progress);
    });
    (client, heard)
}

/// Lets the checkout go on.
async fn open_gate(lab: &Lab) {
    let gate = lab.work().join("gate");
    let open = move || OpenOptions::new().write(true).open(gate).and_then(|mut gate| gate.write_all(b"go on"));
    tokio::task::spawn_blocking(open).await.expect("no panic").expect("the checkout waits at the other end");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_makes_a_worktree_hears_how_far_it_is() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    repository(&lab, &daemon.client()).await;
    let worktree = |branch: &str| CreateWorktree::branch_off(branch, "main").cwd(lab.work().display().to_string());
    for (client, branch) in [(daemon.client(), "over/pipes"), (lab.client(), "over/the/socket")] {
        let (client, mut heard) = listening(&client);
        let request = worktree(branch);
        let making = tokio::spawn(async move { client.create_worktree(request).await });
        let first = heard.recv().await.expect("it is told");
        assert_eq!(first.message, Some(format!("checking out {branch}")));
        assert_eq!((first.step.as_str(), first.unit.as_deref(), first.total), ("checkout", Some("files"), Some(303)));
        open_gate(&lab).await;
        making.await.expect("no panic").expect("it is made");
    }
    // An agent that gets one says it as well, and is waited for afterwards.
    let (client, mut heard) = listening(&daemon.client());
    let task = lab.script("cat many/300").worktree(worktree("for/an/agent"));
    let creating = tokio::spawn(async move { client.create_agent(task).await });
    let first = heard.recv().await.expect("it is told");
    assert_eq!(first.message.as_deref(), Some("checking out for/an/agent"));
    open_gate(&lab).await;
    let done = creating.await.expect("no panic").expect("it runs");
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("300")));
    lab.end(&daemon.client()).await;
}
