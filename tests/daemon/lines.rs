//! Programs whose lines are long, and those that do not read theirs: played by a script in the place of `claude`.

use paseo_daemon::shim::journal;
use paseo_sdk::catalogue::{CreateAgent, SendAgentPrompt, WaitForAgent, WhenBusy};
use paseo_sdk::item::Happening;
use paseo_sdk::model::{Outcome, WaitOutcome};
use paseo_sdk::provider::What;

use super::watching::until;
use crate::lab::{Lab, calls, timeline};

/// Speaks as much of the program's language as a turn needs. In a prompt it understands `print <bytes>`: a tool's result
/// in a line of this length; and `deaf`: it reads no more until it is let go, and ends then.
const PROGRAM: &str = r#"#!/bin/sh
case "$*" in *stream-json*) ;; *) echo '{}'; exit ;; esac
while IFS= read -r line; do
    case $line in *'"type":"user"'*) ;; *) continue ;; esac
    uuid=${line##*'"uuid":"'}
    echo '{"type":"system","subtype":"init","session_id":"one"}'
    echo '{"type":"user","isReplay":true,"uuid":"'"${uuid%%'"'*}"'"}'
    case $line in
        *print*)
            count=${line##*print }; count=${count%%[!0-9]*}
            echo '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"c'"$count"'","name":"Bash","input":{"command":"print"}}]}}'
            head='{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"c'"$count"'","content":"'
            tail='"}]}}'
            printf %s "$head"
            head -c $((count - ${#head} - ${#tail})) /dev/zero | tr '\0' a
            echo "$tail" ;;
        *deaf*) read -r go < go; exit 1 ;;
    esac
    echo '{"type":"assistant","message":{"content":[{"type":"text","text":"done"}]}}'
    echo '{"type":"result","subtype":"success","is_error":false,"result":"done"}'
done
"#;

/// Returns a lab whose `claude` is that script, and a pipe to let it go on.
pub(super) fn lab() -> Lab {
    let mut lab = Lab::new();
    let programs = lab.path("programs");
    std::fs::create_dir(&programs).expect("a directory");
    crate::lab::program(&programs.join("claude"), PROGRAM.as_bytes());
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a path"));
    lab.set_env([("PATH".to_owned(), path)]);
    lab.fifo("go");
    lab
}

pub(super) fn task(lab: &Lab, prompt: &str) -> CreateAgent {
    CreateAgent::new("a test", "claude", prompt).cwd(lab.work().display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_32_mebibytes_comes_into_the_timeline_and_a_longer_one_is_an_error_of_its_own() {
    let lab = lab();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let done = client.create_agent(task(&lab, &format!("print {LONGEST} "))).await.expect("it runs");
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("done")), "{done:?}");
    let agent = done.agent_id;
    let entries = timeline(&client, &agent).await;
    let call = calls(&entries)[0];
    let output = call.output.as_deref().expect("an output");
    assert!(output.len() < 70 << 10, "{} bytes", output.len());
    let (head, tail) = call.ends().expect("it is shortened");
    let whole = head.len() + tail.len() + usize::try_from(call.omitted_bytes).expect("a count");
    assert!((LONGEST - 200..LONGEST).contains(&whole), "{whole} bytes");
    assert!(!entries.iter().any(|entry| matches!(entry.what, Happening::Error { .. })));

    let longer = SendAgentPrompt::new(&agent, format!("print {} ", LONGEST + 1));
    let done = client.send_agent_prompt(longer).await.expect("it runs");
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("done")), "{done:?}");
    let entries = timeline(&client, &agent).await;
    let errors = entries.iter().filter(|entry| matches!(entry.what, Happening::Error { .. })).count();
    assert_eq!(errors, 1);
    let log = lab.home().join(format!("agents/{agent}/timeline.ndjson"));
    assert!(log.metadata().expect("it is there").len() < 1 << 20);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_read_holds_up_nobody_and_what_it_is_not_told_is_said() {
    let lab = lab();
    let daemon = lab.process();
    let client = lab.client();
    let agent = client.create_agent(task(&lab, "deaf").in_background()).await.expect("it starts").agent_id;
    until(&client, &agent, |agent| agent.turn.is_some()).await;
    let long = "x".repeat(4_000_000);
    let steer = |text: &str| {
        let prompt = SendAgentPrompt { when_busy: WhenBusy::Steer, ..SendAgentPrompt::new(&agent, text) };
        prompt.in_background()
    };
    let mut prompts = Vec::new();
    for _ in 0..20 {
        prompts.push(client.send_agent_prompt(steer(&long)).await.expect("it is accepted").prompt_id.expect("its id"));
    }
    let other = client.create_agent(lab.script("echo served")).await.expect("it runs");
    assert_eq!(other.last_message.as_deref(), Some("served"));
    let last = prompts.last().cloned();
    let refused = client
        .wait_for_agent(WaitForAgent { prompt_id: last, ..WaitForAgent::one(&agent) })
        .await
        .expect("it is refused");
    assert_eq!(refused.outcome, Some(WaitOutcome::Error));
    assert!(refused.reason.as_deref().is_some_and(|reason| reason.contains("the agent does not read")), "{refused:?}");
    let told = told(&lab, agent.as_str());

    daemon.kill();
    let daemon = lab.process();
    // What was said to the shim is said to it once, and there is no more room than before.
    let again = client.send_agent_prompt(steer(&long)).await.expect("it is accepted").prompt_id;
    let wait = WaitForAgent { prompt_id: again, ..WaitForAgent::one(&agent) };
    let refused = client.wait_for_agent(wait).await.expect("it is refused");
    assert_eq!(refused.outcome, Some(WaitOutcome::Error), "{refused:?}");
    assert_eq!(self::told(&lab, agent.as_str()), told);
    let ends = |entries: &[paseo_sdk::item::Entry]| {
        let ended = |entry: &&paseo_sdk::item::Entry| {
            matches!(&entry.what, Happening::TurnEnded { outcome: Outcome::Error, reason: Some(reason), .. }
                if reason.contains("the agent does not read"))
        };
        entries.iter().filter(ended).count()
    };
    // All that was told is in the program's pipe or waits for it: some 16 of these, and the prompt that it works on.
    assert!((15..=17).contains(&told), "{told}");
    assert_eq!(ends(&timeline(&client, &agent).await), prompts.len() + 1 - (told - 1));
    let go = lab.work().join("go");
    tokio::task::spawn_blocking(move || std::fs::write(go, "go\n")).await.expect("no panic").expect("it is read");
    let ended = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    assert_eq!(ended.outcome, Some(WaitOutcome::Error), "{ended:?}");
    lab.end(&client).await;
    daemon.ended();
}

/// Counts the prompts that the journal of the first run knows as told, each once.
fn told(lab: &Lab, agent: &str) -> usize {
    let records = journal::read(&lab.home().join(format!("agents/{agent}/runs/1"))).expect("its journal");
    let told = records.filter_map(|record| match record.expect("a record").what {
        What::Told { id, .. } if id.0.starts_with("prompt.") => Some(id),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    let once: std::collections::BTreeSet<_> = told.iter().collect();
    assert_eq!(once.len(), told.len());
    told.len()
}

const LONGEST: usize = 32 << 20;
