//! The real program behind a real daemon, against a model that is scripted in the prompt.

use std::path::PathBuf;

use paseo_sdk::catalogue::{
    CancelAgent, CreateAgent, ListModels, ListProviders, SendAgentPrompt, SetAgentMode, WaitForAgent, WatchAgents,
    WatchFrom, WhenBusy,
};
use paseo_sdk::item::{Content, Entry, Happening, Item, TodoStatus};
use paseo_sdk::model::{AgentId, Behavior, Event, Mode, Permission, PermissionKind, Status, WaitOutcome};
use paseo_sdk::{Client, Code};
use serde_json::json;

use crate::conformance::stage::{
    Kind, Stage, answer, ended, items, kill_agent, notices, question, send, status, turns,
};
use crate::daemon::watching::follow;
use crate::lab::{calls, timeline};
use crate::messages_api::program::claude_program;

async fn stage() -> Option<(Stage, Client)> {
    let mut stage = Stage::new(Kind::Claude { program: claude_program()? }).await;
    let client = stage.client().await;
    Some((stage, client))
}

/// Starts a task that asks.
async fn asking(stage: &Stage, client: &Client, prompt: &str) -> (AgentId, Permission) {
    let asking = client.create_agent(stage.asking(prompt)).await.expect("it starts");
    (asking.agent_id.clone(), question(&asking).clone())
}

/// Returns every text that the model was sent in the last request.
fn heard(stage: &Stage) -> Vec<String> {
    let last = stage.model.messages().requests().pop().expect("it asked");
    last.messages.iter().flat_map(|message| message.texts()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_a_permission_that_is_answered_in_words() {
    let Some((stage, client)) = stage().await else { return };
    let script = "[[ask: Which color?|Red|Blue]] [[ask: How large?|Small|Large]]";
    let (agent, permission) = asking(&stage, &client, script).await;
    assert_eq!((permission.kind, permission.title.as_str()), (PermissionKind::Question, "Which color?"));
    assert_eq!(permission.input["questions"][0]["options"][1]["label"], "Blue");
    let mut chosen = answer(&agent, &permission, Behavior::Allow);
    chosen.updated_input = Some(json!({ "answers": { "Which color?": "Blue" } }));
    client.respond_to_permission(chosen).await.expect("an answer");
    let second = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it asks again");
    let mut spoken = answer(&agent, question(&second), Behavior::Allow);
    spoken.message = Some("as large as a house".to_owned());
    client.respond_to_permission(spoken).await.expect("an answer");
    let done = ended(&client, &agent).await;
    assert!(done.last_message.is_some_and(|text| text.contains("as large as a house")));
    let entries = timeline(&client, &agent).await;
    assert!(calls(&entries)[0].output.as_deref().is_some_and(|output| output.contains("Blue")), "{entries:#?}");
    assert!(notices(&entries).contains(&"answered: Which color? Blue"), "{entries:#?}");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_accepted_is_carried_out() {
    let Some((stage, client)) = stage().await else { return };
    let script = "[[plan: 1. write it]] [[write: plan.txt carried out]] [[text: done with it]]";
    let mut task = stage.asking(script);
    task.mode = Some(Mode::Plan);
    let asks = client.create_agent(task.clone()).await.expect("it starts");
    let plan = question(&asks).clone();
    assert_eq!((plan.kind, plan.input["plan"].as_str()), (PermissionKind::Plan, Some("1. write it")));
    let mut revise = answer(&asks.agent_id, &plan, Behavior::Deny);
    revise.message = Some("in capitals, please".to_owned());
    client.respond_to_permission(revise).await.expect("an answer");
    // The script goes on to write, which in plan mode is asked: nothing was accepted.
    let write = client.wait_for_agent(WaitForAgent::one(&asks.agent_id)).await.expect("it asks");
    assert_eq!(question(&write).kind, PermissionKind::Tool);
    assert!(heard(&stage).is_empty() || !stage.file("plan.txt").exists());
    assert_eq!(status(&client, &asks.agent_id).await.mode, Mode::Plan);

    let asks = client.create_agent(task).await.expect("it starts");
    let plan = question(&asks).clone();
    let mut accept = answer(&asks.agent_id, &plan, Behavior::Allow);
    accept.option_id = Some("auto".to_owned());
    client.respond_to_permission(accept).await.expect("an answer");
    ended(&client, &asks.agent_id).await;
    assert_eq!(std::fs::read_to_string(stage.file("plan.txt")).expect("it was carried out").trim(), "carried out");
    assert_eq!(status(&client, &asks.agent_id).await.mode, Mode::Auto);
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_always_allowed_is_asked_once_also_by_the_next_process() {
    let Some((stage, client)) = stage().await else { return };
    // What stands in parentheses within is nothing that ends the rule.
    let made = "touch 'made (1)'";
    let (agent, permission) =
        asking(&stage, &client, &format!("[[bash: {made}]] [[bash: {made}]] [[text: both]]")).await;
    let option = permission.options.iter().find(|option| option.option_id == "always").expect("it is offered");
    assert!(option.label.contains("Bash(touch 'made"), "{option:?}");
    let mut always = answer(&agent, &permission, Behavior::Allow);
    always.option_id = Some("always".to_owned());
    client.respond_to_permission(always).await.expect("an answer");
    ended(&client, &agent).await;
    kill_agent(&client, &agent).await;
    let done = send(&client, &agent, &format!("[[bash: {made}]] [[text: again]]")).await;
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("again")), "{done:?}");
    let other = send(&client, &agent, &format!("[[bash: {made}; touch other]]")).await;
    assert_eq!(other.outcome, Some(WaitOutcome::Permission), "anything else is asked, also beside it: {other:?}");
    assert!(!stage.file(".claude").exists(), "nothing is written into the repository");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_changes_in_the_middle_of_a_session() {
    let Some((stage, client)) = stage().await else { return };
    let agent = client.create_agent(stage.asking("[[text: hello]]")).await.expect("it starts").agent_id;
    let set = async |mode: Mode| {
        let set = SetAgentMode { agent_id: (&agent).into(), mode: mode.clone() };
        assert_eq!(client.set_agent_mode(set).await.expect("it has it").mode, mode);
    };
    let pid = status(&client, &agent).await.pid;
    set(Mode::Auto).await;
    let done = send(&client, &agent, "[[write: one.txt one]] [[text: wrote]]").await;
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "edits are not asked: {done:?}");
    assert_eq!(status(&client, &agent).await.pid, pid, "in the same process");
    // This one a process has to be started with.
    set(Mode::FullAccess).await;
    let done = send(&client, &agent, "[[bash: touch two]] [[text: ran]]").await;
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("ran")), "{done:?}");
    let now = status(&client, &agent).await;
    assert_eq!(now.mode, Mode::FullAccess);
    assert_ne!(now.pid, pid, "in another process");
    set(Mode::Default).await;
    let asks = send(&client, &agent, "[[bash: touch three]]").await;
    assert_eq!(asks.outcome, Some(WaitOutcome::Permission), "{asks:?}");
    let foreign = Mode::Native { provider: "claude".to_owned(), name: "yolo".to_owned() };
    let refused = client.set_agent_mode(SetAgentMode { agent_id: (&agent).into(), mode: foreign }).await;
    assert!(refused.expect_err("it has no such mode").hint.is_some_and(|hint| hint.contains("claude:dontAsk")));
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_to_do_list_is_an_item_and_not_the_calls_that_make_it() {
    let Some((stage, client)) = stage().await else { return };
    let script = r#"[[todo: design|build]] [[tool: TaskUpdate {"taskId":"1","status":"completed"}]]
        [[tool: TaskUpdate {"taskId":"2","status":"in_progress"}]] [[text: on it]]"#;
    let agent = client.create_agent(stage.asking(script)).await.expect("it starts").agent_id;
    let entries = timeline(&client, &agent).await;
    assert_eq!(calls(&entries).len(), 0, "{entries:#?}");
    let lists: Vec<_> = items(&entries)
        .into_iter()
        .filter_map(|item| match &item.content {
            Content::Todo { entries } => Some(entries),
            _ => None,
        })
        .collect();
    assert_eq!(lists.len(), 4, "{lists:?}");
    let last: Vec<_> = lists[3].iter().map(|entry| (entry.text.as_str(), entry.status)).collect();
    assert_eq!(last, [("design", TodoStatus::Completed), ("build", TodoStatus::InProgress)]);
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sub_agent_does_belongs_to_the_call_that_started_it() {
    let Some((stage, client)) = stage().await else { return };
    let script = "[[agent: look around ((bash: echo from below)) ((text: seen it))]] [[text: all told]]";
    let done = client.create_agent(stage.free(script)).await.expect("it starts");
    assert_eq!(
        (done.outcome, done.last_message.as_deref()),
        (Some(WaitOutcome::Completed), Some("all told")),
        "{done:?}"
    );
    let entries = timeline(&client, &done.agent_id).await;
    let closed = items(&entries);
    let call = |name: &str| {
        let is = |item: &&&Item| matches!(&item.content, Content::ToolCall(call) if call.name == name);
        *closed.iter().find(is).unwrap_or_else(|| panic!("a call of {name}: {entries:#?}"))
    };
    assert_eq!(call("Bash").parent_id.as_ref(), Some(&call("Agent").item_id));
    assert!(call("Agent").parent_id.is_none());
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_in_the_background_outlives_its_turn_and_starts_one_by_itself() {
    let Some((stage, client)) = stage().await else { return };
    let script =
        r#"[[tool: Bash {"command":"cat go","description":"wait","run_in_background":true}]] [[text: launched]]"#;
    let done = client.create_agent(stage.free(script)).await.expect("it starts");
    assert_eq!(
        (done.outcome, done.last_message.as_deref()),
        (Some(WaitOutcome::Completed), Some("launched")),
        "{done:?}"
    );
    let agent = done.agent_id;
    let follow = WatchFrom { agent_id: (&agent).into(), after: status(&client, &agent).await.last_seq };
    let mut watch = client.watch(WatchAgents { agents: Some(vec![follow]) });
    stage.let_command_go().await;
    let mut unsolicited = false;
    while let Some(event) = watch.next().await {
        let Event::AgentEntry { entry, .. } = event.expect("the watch goes on") else { continue };
        match entry.what {
            Happening::TurnStarted { prompt_id } => {
                assert_eq!(prompt_id, None);
                unsolicited = true;
            }
            Happening::TurnEnded { .. } => break,
            _ => {}
        }
    }
    assert!(unsolicited, "it began by itself");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_agent_in_the_background_asks_after_the_turn_has_ended() {
    let Some((stage, client)) = stage().await else { return };
    let agent = json!({
        "description": "make it",
        "subagent_type": "general-purpose",
        "prompt": "[[bash: cat go > made]] [[text: made it]]",
        "run_in_background": true,
    });
    let script = format!("[[tool: Agent {agent}]] [[text: launched]]");
    let launched = client.create_agent(stage.asking(&script)).await.expect("it starts");
    let agent = launched.agent_id;
    // Whichever comes first: that the turn has ended, or that the sub-agent asks within it or after it.
    let asks = async || {
        let mut watch =
            client.watch(WatchAgents { agents: Some(vec![WatchFrom { agent_id: (&agent).into(), after: 0 }]) });
        while let Some(event) = watch.next().await {
            if let Event::AgentChanged(agent) = event.expect("the watch goes on")
                && let Some(permission) = agent.permissions.first()
            {
                return permission.clone();
            }
        }
        panic!("the watch ended");
    };
    let permission = asks().await;
    assert_eq!(permission.input["command"], "cat go > made");
    client.respond_to_permission(answer(&agent, &permission, Behavior::Allow)).await.expect("an answer");
    stage.let_command_go().await;
    let done = ended(&client, &agent).await;
    assert_eq!(done.permissions, []);
    assert!(stage.file("made").exists());
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_says_its_version_who_is_logged_in_and_its_models() {
    let Some((mut stage, client)) = stage().await else { return };
    let claude = async |client: &Client| {
        let providers = client.list_providers(ListProviders {}).await.expect("a list").providers;
        providers.into_iter().find(|provider| provider.name == "claude").expect("it is there")
    };
    let ready = claude(&client).await;
    assert_eq!((ready.available, ready.logged_in), (true, Some(true)), "{ready:?}");
    assert!(ready.version.is_some_and(|version| version.starts_with("2.")));
    let models = client.list_models(ListModels::of("claude")).await.expect("a list").models;
    let sonnet = models.iter().find(|model| model.model == "sonnet").expect("it has sonnet");
    assert!(sonnet.thinking.contains(&"high".to_owned()), "{sonnet:?}");
    let none = client.list_models(ListModels::of("shell")).await;
    assert_eq!(none.expect_err("it has none").code, Code::Unsupported);
    stage.restart([("ANTHROPIC_API_KEY".to_owned(), String::new())]).await;
    let stranger = claude(&client).await;
    assert_eq!((stranger.available, stranger.logged_in), (false, Some(false)), "{stranger:?}");
    assert!(stranger.reason.is_some_and(|reason| reason.contains("/login")));
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_said_into_a_turn_that_is_stopped_is_taken_back() {
    let Some((stage, client)) = stage().await else { return };
    let agent = stage.runs(&client).await;
    let steer = SendAgentPrompt::new(&agent, "[[text: too late]]").in_background();
    let steer = SendAgentPrompt { when_busy: WhenBusy::Steer, ..steer };
    let steered = client.send_agent_prompt(steer).await.expect("it is said");
    let set = SetAgentMode { agent_id: (&agent).into(), mode: Mode::Auto };
    client.set_agent_mode(set).await.expect("it has it");
    // Now the program has it, and waits for its command before it reads it.
    stage.said(&agent, r#""permissionMode":"acceptEdits""#).await;
    client.cancel_agent(CancelAgent { agent_id: (&agent).into() }).await.expect("it stops");
    let wait = WaitForAgent { prompt_id: steered.prompt_id, ..WaitForAgent::one(&agent) };
    let lost = client.wait_for_agent(wait).await.expect("it is known");
    assert_eq!(lost.outcome, Some(WaitOutcome::Interrupted), "{lost:?}");
    let done = send(&client, &agent, "[[text: again]]").await;
    assert_eq!(done.last_message.as_deref(), Some("again"), "{done:?}");
    assert!(!heard(&stage).iter().any(|text| text.contains("too late")), "{:?}", heard(&stage));
    assert_eq!(turns(&client, &agent).await, 2);
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_text_unless_it_is_raw() {
    let Some((stage, client)) = stage().await else { return };
    std::fs::write(stage.file("secret.txt"), "the word is swordfish").expect("a file");
    let agent = client.create_agent(stage.asking("/context of @secret.txt")).await.expect("it starts").agent_id;
    assert!(heard(&stage).iter().any(|text| text == "/context of @secret.txt"), "{:?}", heard(&stage));
    assert!(!heard(&stage).iter().any(|text| text.contains("swordfish")));
    let raw = SendAgentPrompt { raw: true, ..SendAgentPrompt::new(&agent, "look at @secret.txt") };
    client.send_agent_prompt(raw).await.expect("it is sent");
    assert!(heard(&stage).iter().any(|text| text.contains("swordfish")), "{:?}", heard(&stage));
    let compact = SendAgentPrompt { raw: true, ..SendAgentPrompt::new(&agent, "/compact") };
    let done = client.send_agent_prompt(compact).await.expect("it is sent");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
    let entries = timeline(&client, &agent).await;
    let shortened = items(&entries).iter().any(|item| matches!(item.content, Content::Compaction { .. }));
    assert!(shortened, "{entries:#?}");
    assert_eq!(turns(&client, &agent).await, 3);
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_a_file_is_shown_as_a_diff() {
    let Some((stage, client)) = stage().await else { return };
    std::fs::write(stage.file("a.txt"), "one\ntwo\nthree\n").expect("a file");
    let path = stage.file("a.txt");
    let script = format!("[[read: {0}]] [[edit: {0}|two|2]] [[write: new.txt fresh]] [[text: edited]]", path.display());
    let done = client.create_agent(stage.free(&script)).await.expect("it starts");
    let entries = timeline(&client, &done.agent_id).await;
    let diffs: Vec<_> = calls(&entries).iter().filter_map(|call| call.diff.clone()).collect();
    let shown = diffs.join("").replace(&stage.lab.work().display().to_string(), "/work");
    insta::assert_snapshot!(shown, @r"
    --- /work/a.txt
    +++ /work/a.txt
    @@ -1,3 +1,3 @@
     one
    -two
    +2
     three
    --- /dev/null
    +++ new.txt
    @@ -0,0 +1,1 @@
    +fresh
    ");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_gone_starts_anew_with_the_prompt_said_once() {
    let Some((stage, client)) = stage().await else { return };
    let agent = client.create_agent(stage.asking("[[text: one]]")).await.expect("it starts").agent_id;
    kill_agent(&client, &agent).await;
    std::fs::remove_dir_all(stage.lab.path("claude/.claude/projects")).expect("its conversations");
    let done = send(&client, &agent, "[[text: two]]").await;
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("two")), "{done:?}");
    let entries = timeline(&client, &agent).await;
    assert!(notices(&entries).iter().any(|notice| notice.contains("starts anew")), "{entries:#?}");
    assert_eq!(turns(&client, &agent).await, 2);
    assert!(heard(&stage).iter().any(|text| text.contains("cannot be found any more")), "{:?}", heard(&stage));
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_prompt_and_servers_reach_the_program_and_nobody_else() {
    use std::os::unix::fs::PermissionsExt as _;

    let Some((stage, client)) = stage().await else { return };
    let task = CreateAgent {
        system_prompt: Some("Always answer in rhymes.".to_owned()),
        mcp_servers: [("lab".to_owned(), json!({ "command": "/bin/false" }))].into(),
        thinking: Some("low".to_owned()),
        ..stage.asking("[[text: hello]]")
    };
    let agent = client.create_agent(task).await.expect("it starts").agent_id;
    let last = stage.model.messages().requests().pop().expect("it asked");
    assert!(last.system.contains("Always answer in rhymes."), "{}", last.system);
    let file = stage.lab.home().join(format!("agents/{agent}/mcp.json"));
    assert_eq!(file.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
    let pid = status(&client, &agent).await.pid.expect("it runs");
    let arguments = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/cmdline"))).expect("its arguments");
    assert!(arguments.contains("mcp.json") && !arguments.contains("rhymes") && !arguments.contains("/bin/false"));
    let journal = stage.lab.home().join(format!("agents/{agent}/runs/1/journal-000001.ndjson"));
    let journal = std::fs::read_to_string(journal).expect("its journal");
    assert!(journal.contains(r#"{\"name\":\"lab\",\"status\":"#), "the program knows the server");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_ten_times_in_a_turn_loses_nothing_of_it() {
    let Some(program) = claude_program() else { return };
    let mut stage = Stage::new(Kind::Claude { program }).await;
    let client = stage.start();
    let (asking, permission) = stage.asks(&client, &stage.kind.runs("touch made")).await;
    let prompt = "[[say: at first]] [[bash: echo on > started; cat go > end; echo over]] [[hold: gate]]";
    let working = client.create_agent(stage.free(prompt).in_background()).await.expect("it starts").agent_id;
    stage.started(&client, &working).await;
    let pids = [status(&client, &asking).await.pid, status(&client, &working).await.pid];
    let mut seen: Vec<Entry> = Vec::new();
    for round in 0..10 {
        let after = seen.last().map_or(0, |entry| entry.seq);
        let mut watch = client.watch(follow(&working, after));
        stage.kill();
        stage.start();
        let now = [status(&client, &asking).await, status(&client, &working).await];
        assert_eq!(now.each_ref().map(|agent| agent.pid), pids, "the same processes, after {round}");
        assert_eq!(now.each_ref().map(|agent| agent.status), [Status::Waiting, Status::Running]);
        assert_eq!(now[0].permissions, std::slice::from_ref(&permission));
        match round {
            // Killed while a command runs, then while the model streams.
            4 => stage.let_command_go().await,
            9 => stage.model.release("gate"),
            _ => {}
        }
        let last = status(&client, &working).await.last_seq;
        while seen.last().is_none_or(|entry| entry.seq < last) {
            if let Event::AgentEntry { entry, .. } = watch.next().await.expect("it goes on").expect("it goes on") {
                seen.push(*entry);
            }
        }
    }
    let done = client.wait_for_agent(WaitForAgent::one(&working)).await.expect("it ends");
    assert_eq!(
        (done.outcome, done.last_message.as_deref()),
        (Some(WaitOutcome::Completed), Some("gate is held and released"))
    );
    let entries = timeline(&client, &working).await;
    assert_eq!(seen[..], entries[..seen.len()], "each entry once, in order");
    let [call] = &calls(&entries)[..] else { panic!("one call: {entries:#?}") };
    assert_eq!(call.output.as_deref().map(str::trim_end), Some("over"));
    assert_eq!(turns(&client, &working).await, 1);
    client
        .respond_to_permission(answer(&asking, &permission, Behavior::Allow))
        .await
        .expect("it can still be answered");
    let done = client.wait_for_agent(WaitForAgent::one(&asking)).await.expect("it ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
    assert!(stage.file("made").exists());
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_killed_shim_nothing_is_left_and_the_conversation_goes_on() {
    let Some((stage, client)) = stage().await else { return };
    let agent = stage.runs(&client).await;
    let run = stage.lab.home().join(format!("agents/{agent}/runs/1"));
    let shim = paseo_daemon::shim::journal::processes(&run).expect("its file").expect("its shim");
    paseo_daemon::shim::tree::signal_one(shim.shim_pid, shim.shim_start_time, rustix::process::Signal::KILL)
        .expect("it is killed");
    let lost = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it is noticed");
    assert_eq!((lost.outcome, lost.status), (Some(WaitOutcome::Interrupted), Status::Interrupted), "{lost:?}");
    assert!(lost.reason.is_some_and(|reason| reason.contains("lost")));
    assert_eq!(crate::lab::processes_in(&stage.lab.work()), Vec::<String>::new(), "nothing of its tree is left");
    let again = send(&client, &agent, "[[text: still here]]").await;
    assert_eq!(again.last_message.as_deref(), Some("still here"), "{again:?}");
    let heard = heard(&stage).join("\n");
    assert!(heard.contains("cat go > end"), "it goes on in the conversation that was, and is told: {heard}");
    stage.end(&client).await;
}
