//! The real program behind a real daemon, against a model that is scripted in the prompt.

use paseo_sdk::catalogue::{
    AgentOutcome, CancelAgent, CreateAgent, CreateWorktree, ListModels, ListProviders, SendAgentPrompt, SetAgentMode,
    WaitForAgent, WhenBusy,
};
use paseo_sdk::item::{Content, Entry, TodoStatus, ToolStatus};
use paseo_sdk::model::{AgentId, Behavior, Event, Mode, PermissionKind, Status, WaitOutcome};
use paseo_sdk::{Client, Code};
use serde_json::{Value, json};

use crate::conformance::stage::{
    Kind, Stage, answer, ended, items, kill_agent, notices, question, send, status, turns,
};
use crate::daemon::watching::follow;
use crate::lab::{PASEO, calls, processes_in, timeline};
use crate::responses_api::program::codex_program;

async fn stage() -> Option<(Stage, Client)> {
    let mut stage = Stage::new(Kind::Codex { program: codex_program()? }).await;
    let client = stage.client().await;
    Some((stage, client))
}

/// Returns every text that the model was sent in the last request.
fn heard(stage: &Stage) -> Vec<String> {
    stage.model.asked().1
}

fn configuration(stage: &Stage) -> std::path::PathBuf {
    stage.lab.path("codex/.codex/config.toml")
}

/// Allows a question, in one of the ways that it offers.
async fn allow(client: &Client, asking: &AgentOutcome, option: &str) {
    let mut allow = answer(&asking.agent_id, question(asking), Behavior::Allow);
    allow.option_id = Some(option.to_owned());
    client.respond_to_permission(allow).await.expect("it is offered");
}

async fn next_question(client: &Client, agent: &AgentId) -> AgentOutcome {
    client.wait_for_agent(WaitForAgent::one(agent)).await.expect("it asks")
}

async fn set_mode(client: &Client, agent: &AgentId, mode: Mode) {
    let set = SetAgentMode { agent_id: agent.into(), mode: mode.clone() };
    assert_eq!(client.set_agent_mode(set).await.expect("it has it").mode, mode);
}

/// Returns whether the program's sandbox works on this machine; where it does not, an agent's timeline says so.
async fn has_sandbox(client: &Client, agent: &AgentId) -> bool {
    let entries = timeline(client, agent).await;
    !notices(&entries).iter().any(|notice| notice.contains("cannot use its sandbox"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_a_permission_that_is_answered_in_words() {
    let Some((stage, client)) = stage().await else { return };
    let script = "[[ask: Which color?|Red|Blue]] [[ask: How large?|Small|Large]]";
    let (agent, permission) = stage.asks(&client, script).await;
    assert_eq!((permission.kind, permission.title.as_str()), (PermissionKind::Question, "Which color?"));
    assert_eq!(permission.input["questions"][0]["options"][1]["label"], "Blue");
    let mut chosen = answer(&agent, &permission, Behavior::Allow);
    chosen.updated_input = Some(json!({ "answers": { "Which color?": "Blue" } }));
    client.respond_to_permission(chosen).await.expect("an answer");
    let second = next_question(&client, &agent).await;
    let mut spoken = answer(&agent, question(&second), Behavior::Allow);
    spoken.message = Some("as large as a house".to_owned());
    client.respond_to_permission(spoken).await.expect("an answer");
    let done = ended(&client, &agent).await;
    assert!(done.last_message.as_ref().is_some_and(|text| text.contains("as large as a house")), "{done:?}");
    let entries = timeline(&client, &agent).await;
    assert!(notices(&entries).contains(&"answered: Which color? Blue"), "{entries:#?}");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_made_anew_or_carried_out_as_somebody_says() {
    let Some((stage, client)) = stage().await else { return };
    const PLAN: &str = "[[text: <proposed_plan>\n1. write it\n</proposed_plan>]]";
    let script = format!("{PLAN} {PLAN} [[patch: plan.txt carried out]] [[text: done with it]]");
    let mut task = stage.asking(&script);
    task.mode = Some(Mode::Plan);
    let first = client.create_agent(task).await.expect("it starts");
    let plan = question(&first).clone();
    assert_eq!((plan.kind, plan.input["plan"].as_str()), (PermissionKind::Plan, Some("1. write it\n")));
    let mut revise = answer(&first.agent_id, &plan, Behavior::Deny);
    revise.message = Some("in capitals, please".to_owned());
    client.respond_to_permission(revise).await.expect("an answer");
    let second = next_question(&client, &first.agent_id).await;
    assert_ne!(question(&second).request_id, plan.request_id, "another plan is another question");
    assert!(heard(&stage).iter().any(|text| text == "in capitals, please"), "{:?}", heard(&stage));
    assert!(!stage.file("plan.txt").exists());
    allow(&client, &second, "auto").await;
    let done = ended(&client, &first.agent_id).await;
    if has_sandbox(&client, &first.agent_id).await {
        assert_eq!(std::fs::read_to_string(stage.file("plan.txt")).expect("it was carried out").trim(), "carried out");
    }
    assert_eq!(done.last_message.as_deref(), Some("done with it"));
    assert_eq!(status(&client, &first.agent_id).await.mode, Mode::Auto);
    assert_eq!(turns(&client, &first.agent_id).await, 1, "from the question to the end it is one turn");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_left_ends_the_turn_and_so_does_stopping_it() {
    let Some((stage, client)) = stage().await else { return };
    const PLAN: &str = "[[text: <proposed_plan>\n1. write it\n</proposed_plan>]]";
    let mut task = stage.asking(PLAN);
    task.mode = Some(Mode::Plan);
    let asks = client.create_agent(task).await.expect("it starts");
    client.respond_to_permission(answer(&asks.agent_id, question(&asks), Behavior::Deny)).await.expect("an answer");
    let done = ended(&client, &asks.agent_id).await;
    assert_eq!(done.last_message.as_deref(), Some("1. write it\n"));
    assert_eq!(status(&client, &asks.agent_id).await.mode, Mode::Plan);
    let again = send(&client, &asks.agent_id, PLAN).await;
    assert_eq!(question(&again).kind, PermissionKind::Plan);
    let stopped = client.cancel_agent(CancelAgent { agent_id: (&asks.agent_id).into() }).await.expect("it stops");
    assert_eq!((stopped.status, stopped.permissions.len()), (Status::Interrupted, 0), "{stopped:?}");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_always_allowed_is_asked_once_also_by_the_next_process() {
    let Some((stage, client)) = stage().await else { return };
    let made = "touch 'made (1)'";
    let (agent, permission) = stage.asks(&client, &format!("[[bash: {made}]] [[bash: {made}]] [[text: both]]")).await;
    let option = permission.options.iter().find(|option| option.option_id == "always").expect("it is offered");
    assert_eq!(option.label, format!("always allow `{made}`"));
    let mut other = answer(&agent, &permission, Behavior::Allow);
    other.updated_input = Some(json!({ "command": "touch other" }));
    let refused = client.respond_to_permission(other).await.expect_err("it has no words for that");
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (Code::Unsupported, "codex cannot run anything else than what it asks for")
    );
    let mut always = answer(&agent, &permission, Behavior::Allow);
    always.option_id = Some("always".to_owned());
    client.respond_to_permission(always).await.expect("an answer");
    ended(&client, &agent).await;
    kill_agent(&client, &agent).await;
    let done = send(&client, &agent, &format!("[[bash: {made}]] [[text: again]]")).await;
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("again")), "{done:?}");
    let other = send(&client, &agent, &format!("[[bash: {made}; touch other]]")).await;
    assert_eq!(other.outcome, Some(WaitOutcome::Permission), "anything else is asked, also beside it: {other:?}");
    assert!(!stage.lab.path("codex/.codex/rules").exists(), "nothing is written into the user's settings");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_changes_in_the_middle_of_a_session() {
    let Some((stage, client)) = stage().await else { return };
    let agent = client.create_agent(stage.asking("[[text: hello]]")).await.expect("it starts").agent_id;
    let pid = status(&client, &agent).await.pid;
    set_mode(&client, &agent, Mode::FullAccess).await;
    let done = send(&client, &agent, "[[bash: touch two]] [[text: ran]]").await;
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("ran")), "{done:?}");
    set_mode(&client, &agent, Mode::Default).await;
    let asks = send(&client, &agent, "[[bash: touch three]]").await;
    assert_eq!(asks.outcome, Some(WaitOutcome::Permission), "{asks:?}");
    assert_eq!(status(&client, &agent).await.pid, pid, "in the same process");
    let foreign = Mode::Native { provider: "codex".to_owned(), name: "yolo".to_owned() };
    let refused = client.set_agent_mode(SetAgentMode { agent_id: (&agent).into(), mode: foreign }).await;
    assert!(refused.expect_err("it has no such mode").hint.is_some_and(|hint| hint.contains("codex:workspace-write")));
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_is_asked_with_its_diff_and_edits_need_not_be_asked_any_more() {
    let Some((stage, client)) = stage().await else { return };
    std::fs::write(stage.file("a.txt"), "one\ntwo\nthree\n").expect("a file");
    let script = "[[update: a.txt|two|2]] [[patch: new.txt fresh]] [[text: edited]]";
    let asking = client.create_agent(stage.asking(script)).await.expect("it starts");
    let permission = question(&asking);
    assert_eq!(permission.title, "change a.txt");
    let shown =
        permission.input["diff"].as_str().expect("a diff").replace(&stage.lab.work().display().to_string(), "/work");
    insta::assert_snapshot!(shown, @r"
    --- /work/a.txt
    +++ /work/a.txt
    @@ -1,3 +1,3 @@
     one
    -two
    +2
     three
    ");
    assert_eq!(std::fs::read_to_string(stage.file("a.txt")).expect("a file"), "one\ntwo\nthree\n", "it waits");
    allow(&client, &asking, "auto").await;
    let next = next_question(&client, &asking.agent_id).await;
    assert_eq!(question(&next).title, "change new.txt", "the turn that runs goes on as it began");
    client.respond_to_permission(answer(&asking.agent_id, question(&next), Behavior::Allow)).await.expect("an answer");
    ended(&client, &asking.agent_id).await;
    let later = send(&client, &asking.agent_id, "[[patch: later.txt fresh]] [[text: later]]").await;
    if has_sandbox(&client, &asking.agent_id).await {
        assert_eq!(later.outcome, Some(WaitOutcome::Completed), "{later:?}");
        assert_eq!(std::fs::read_to_string(stage.file("later.txt")).expect("a file").trim(), "fresh");
    }
    assert_eq!(status(&client, &asking.agent_id).await.mode, Mode::Auto);
    let entries = timeline(&client, &asking.agent_id).await;
    assert!(calls(&entries)[0].diff.as_deref().is_some_and(|diff| diff.contains("+2")), "{entries:#?}");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_to_do_list_is_an_item() {
    let Some((stage, client)) = stage().await else { return };
    let agent = client.create_agent(stage.asking("[[todo: design|build]] [[text: on it]]")).await.expect("it starts");
    let entries = timeline(&client, &agent.agent_id).await;
    let lists: Vec<_> = items(&entries)
        .into_iter()
        .filter_map(|item| match &item.content {
            Content::Todo { entries } => Some(entries),
            _ => None,
        })
        .collect();
    let texts: Vec<_> = lists[0].iter().map(|entry| (entry.text.as_str(), entry.status)).collect();
    assert_eq!(texts.iter().map(|(text, _)| *text).collect::<Vec<_>>(), ["design", "build"]);
    assert!(texts.iter().all(|(_, status)| *status != TodoStatus::Completed), "{texts:?}");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_outlives_its_turn_and_so_does_its_process() {
    let Some((stage, client)) = stage().await else { return };
    let done = client.create_agent(stage.free("[[background: 250 cat go; echo over]] [[text: launched]]")).await;
    let done = done.expect("it starts");
    assert_eq!(
        (done.outcome, done.last_message.as_deref()),
        (Some(WaitOutcome::Completed), Some("launched")),
        "{done:?}"
    );
    let after = status(&client, &done.agent_id).await.last_seq;
    let mut watch = client.watch(follow(&done.agent_id, after));
    stage.let_command_go().await;
    let call = loop {
        if let Event::AgentEntry { entry, .. } = watch.next().await.expect("it goes on").expect("it goes on") {
            break entry;
        }
    };
    let closed = calls(std::slice::from_ref(&call));
    assert_eq!((closed[0].status, closed[0].exit_code), (ToolStatus::Completed, Some(0)), "{call:#?}");
    assert!(closed[0].output.as_deref().is_some_and(|output| output.contains("over")), "{call:#?}");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_stopped_leaves_no_command() {
    let Some((stage, client)) = stage().await else { return };
    let prompt = stage.kind.runs("echo on > started; sleep 1000");
    let agent = client.create_agent(stage.free(&prompt).in_background()).await.expect("it starts").agent_id;
    stage.started(&client, &agent).await;
    assert!(processes_in(&stage.lab.work()).iter().any(|process| process.ends_with(" sleep")));
    let stopped = client.cancel_agent(CancelAgent { agent_id: (&agent).into() }).await.expect("it stops");
    assert_eq!((stopped.status, stopped.turn), (Status::Interrupted, None));
    let left: Vec<_> =
        processes_in(&stage.lab.work()).into_iter().filter(|process| process.ends_with(" sleep")).collect();
    assert_eq!(left, Vec::<String>::new());
    assert!(status(&client, &agent).await.pid.is_some(), "the program stays for what comes next");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_said_into_a_turn_that_is_stopped_is_not_lost() {
    let Some((stage, client)) = stage().await else { return };
    let agent = stage.runs(&client).await;
    let steer = SendAgentPrompt::new(&agent, "[[text: in time]]").in_background();
    let steer = SendAgentPrompt { when_busy: WhenBusy::Steer, ..steer };
    let steered = client.send_agent_prompt(steer).await.expect("it is said");
    client.cancel_agent(CancelAgent { agent_id: (&agent).into() }).await.expect("it stops");
    let wait = WaitForAgent { prompt_id: steered.prompt_id, ..WaitForAgent::one(&agent) };
    let known = client.wait_for_agent(wait).await.expect("it is known");
    assert!(known.outcome.is_some(), "what came of it can be read: {known:?}");
    let done = send(&client, &agent, "[[text: again]]").await;
    assert_eq!(done.last_message.as_deref(), Some("again"), "{done:?}");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_says_its_version_who_is_logged_in_and_its_models() {
    let Some((mut stage, client)) = stage().await else { return };
    let codex = async |client: &Client| {
        let providers = client.list_providers(ListProviders {}).await.expect("a list").providers;
        providers.into_iter().find(|provider| provider.name == "codex").expect("it is there")
    };
    let ready = codex(&client).await;
    assert_eq!((ready.available, ready.logged_in), (true, Some(true)), "{ready:?}");
    assert!(ready.version.is_some_and(|version| version.starts_with("0.")));
    let models = client.list_models(ListModels::of("codex")).await.expect("a list").models;
    let model = models.iter().find(|model| model.model == "gpt-5.5").expect("it has it");
    assert!(model.thinking.contains(&"high".to_owned()), "{model:?}");
    stage.log_out();
    stage.restart([]).await;
    let stranger = codex(&client).await;
    assert_eq!((stranger.available, stranger.logged_in), (false, Some(false)), "{stranger:?}");
    assert!(stranger.reason.is_some_and(|reason| reason.contains("codex login")));
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_listed_runs_and_people_are_told() {
    let Some((stage, client)) = stage().await else { return };
    let task = CreateAgent { provider: "codex/gpt-5.4".to_owned(), ..stage.free("[[text: hello]]") };
    let done = client.create_agent(task).await.expect("it starts");
    assert_eq!(done.last_message.as_deref(), Some("hello"), "{done:?}");
    assert_eq!(stage.model.asked().0, "gpt-5.4");
    let again = send(&client, &done.agent_id, "[[text: again]]").await;
    assert_eq!(again.last_message.as_deref(), Some("again"), "{again:?}");
    let entries = timeline(&client, &done.agent_id).await;
    let told = notices(&entries).into_iter().filter(|notice| notice.contains("Model metadata for `gpt-5.4` not found"));
    assert_eq!(told.count(), 1, "once, not with every turn: {entries:#?}");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_gone_starts_anew_with_the_prompt_said_once() {
    let Some((stage, client)) = stage().await else { return };
    let agent = client.create_agent(stage.asking("[[text: one]]")).await.expect("it starts").agent_id;
    kill_agent(&client, &agent).await;
    std::fs::remove_dir_all(stage.lab.path("codex/.codex/sessions")).expect("its conversations");
    let done = send(&client, &agent, "[[text: two]]").await;
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("two")), "{done:?}");
    let entries = timeline(&client, &agent).await;
    assert!(notices(&entries).iter().any(|notice| notice.contains("starts anew")), "{entries:#?}");
    assert_eq!(turns(&client, &agent).await, 2);
    assert!(heard(&stage).iter().any(|text| text.contains("cannot be found any more")), "{:?}", heard(&stage));
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_broken_are_told_and_what_comes_when_they_are_mended_runs() {
    let Some((stage, client)) = stage().await else { return };
    let right = std::fs::read_to_string(configuration(&stage)).expect("it is there");
    std::fs::write(configuration(&stage), format!("{right}\n= nonsense")).expect("it is written");
    let failed = client.create_agent(stage.free("[[text: one]]")).await.expect("it starts");
    assert_eq!(failed.outcome, Some(WaitOutcome::Error), "{failed:?}");
    assert!(failed.reason.as_ref().is_some_and(|reason| reason.contains("config.toml")), "{failed:?}");
    std::fs::write(configuration(&stage), right).expect("it is written");
    let done = send(&client, &failed.agent_id, "[[text: two]]").await;
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("two")), "{done:?}");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_nobody_answers_at_is_given_up() {
    let Some((stage, client)) = stage().await else { return };
    let right = std::fs::read_to_string(configuration(&stage)).expect("it is there");
    let wrong = right
        .lines()
        .filter(|line| !line.starts_with("features.unbounded"))
        .map(|line| if line.starts_with("base_url") { "base_url = \"http://127.0.0.1:1/v1\"" } else { line });
    std::fs::write(configuration(&stage), wrong.collect::<Vec<_>>().join("\n")).expect("it is written");
    let failed = client.create_agent(stage.free("[[text: one]]")).await.expect("it starts");
    assert_eq!(failed.outcome, Some(WaitOutcome::Error), "{failed:?}");
    let entries = timeline(&client, &failed.agent_id).await;
    assert!(notices(&entries).iter().any(|notice| notice.contains("asked again")), "{entries:#?}");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instructions_and_servers_reach_the_program_and_their_secrets_nobody_else() {
    let Some((stage, client)) = stage().await else { return };
    let before = std::fs::read_to_string(configuration(&stage)).expect("it is there");
    let server = stage.file("server.py");
    std::fs::write(&server, SERVER).expect("it is written");
    let task = CreateAgent {
        system_prompt: Some("Always answer in rhymes.".to_owned()),
        mcp_servers: [(
            "lab".to_owned(),
            json!({ "command": "python3", "args": [server.display().to_string()], "env": { "LAB_KEY": "sesame" } }),
        )]
        .into(),
        thinking: Some("low".to_owned()),
        env: [("OPENAI_API_KEY".to_owned(), "sk-of-the-user".to_owned())].into(),
        ..stage.free(r#"[[tool: mcp__lab/key {}]] [[bash: echo "[$OPENAI_API_KEY] [$PASEO_MCP_0]"]] [[text: told]]"#)
    };
    let done = client.create_agent(task).await.expect("it starts");
    assert_eq!(done.last_message.as_deref(), Some("told"), "{done:?}");
    assert!(heard(&stage).iter().any(|text| text.contains("Always answer in rhymes.")), "{:?}", heard(&stage));
    let entries = timeline(&client, &done.agent_id).await;
    let outputs: Vec<_> = calls(&entries).iter().filter_map(|call| call.output.as_deref()).collect();
    assert_eq!(outputs, ["the key has 6 letters", "[] []\n"], "the server has its key, and commands have none");
    let pid = status(&client, &done.agent_id).await.pid.expect("it runs");
    let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("its arguments");
    assert!(!arguments.contains("rhymes") && !arguments.contains("sesame"), "{arguments}");
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).expect("its program");
    assert!(program.ends_with("bin/codex"), "not the script that starts it: {}", program.display());
    let journal = stage.lab.home().join(format!("agents/{}/runs/1/journal-000001.ndjson", done.agent_id));
    let journal = std::fs::read_to_string(journal).expect("its journal");
    assert!(!journal.contains("sesame") && !journal.contains("sk-of-the-user"), "a journal holds no secret");
    let after = std::fs::read_to_string(configuration(&stage)).expect("it is there");
    assert_eq!(before, after, "the user's settings are as they were");
    stage.end(&client).await;
}

/// A server whose one tool says how long its key is.
const SERVER: &str = r#"
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    said = f"the key has {len(os.environ['LAB_KEY'])} letters"
    results = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "lab", "version": "1"}},
        "tools/list": {"tools": [{"name": "key", "inputSchema": {"type": "object"}}]},
        "tools/call": {"content": [{"type": "text", "text": said}]},
    }
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": results.get(asked["method"], {})}), flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_ten_times_in_a_turn_loses_nothing_of_it() {
    let Some(program) = codex_program() else { return };
    let mut stage = Stage::new(Kind::Codex { program }).await;
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
    let done = ended(&client, &working).await;
    assert_eq!(done.last_message.as_deref(), Some("gate is held and released"));
    let entries = timeline(&client, &working).await;
    assert_eq!(seen[..], entries[..seen.len()], "each entry once, in order");
    assert_eq!(turns(&client, &working).await, 1);
    client
        .respond_to_permission(answer(&asking, &permission, Behavior::Allow))
        .await
        .expect("it can still be answered");
    ended(&client, &asking).await;
    assert!(stage.file("made").exists());
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_full_access_commits_on_the_branch_of_its_worktree() {
    let Some((stage, client)) = stage().await else { return };
    repository(&stage);
    let prompt = format!("[[bash: {COMMIT} 'by a person']] [[text: committed]]");
    let mut run = std::process::Command::new(PASEO);
    run.args(["run", "--provider", "codex/gpt-5.4", "--mode", "full-access", "--worktree", "feat/x", &prompt]);
    run.env("PASEO_HOME", stage.lab.home()).current_dir(stage.lab.work());
    let run = tokio::task::spawn_blocking(move || run.output()).await.expect("no panic").expect("it runs");
    let (said, told) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && said.contains("committed"), "{said}{told}");
    assert!(told.contains("(branch feat/x)"), "{told}");
    assert!(told.contains("Model metadata for `gpt-5.4` not found"), "people are told: {told}");
    assert_eq!(git(&stage, &["log", "-1", "--format=%s", "feat/x"]), "by a person\n");
    stage.end(&client).await;
}

/// Makes the directory that agents work in a repository.
fn repository(stage: &Stage) {
    git(stage, &["init", "-q", "-b", "main"]);
    git(
        stage,
        &["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "--allow-empty", "-m", "first"],
    );
}

fn git(stage: &Stage, arguments: &[&str]) -> String {
    let run = std::process::Command::new("git").arg("-C").arg(stage.lab.work()).args(arguments).output();
    let run = run.expect("git runs");
    assert!(run.status.success(), "{arguments:?}: {run:?}");
    String::from_utf8(run.stdout).expect("text")
}

/// Commits something, under the message that follows.
const COMMIT: &str = "echo x > x && git add x && git -c user.name=t -c user.email=t@example.org commit -qm";

#[tokio::test(flavor = "multi_thread")]
async fn in_its_sandbox_it_commits_in_its_worktree_and_writes_nowhere_else() {
    let Some((stage, client)) = stage().await else { return };
    repository(&stage);
    let outside = std::path::Path::new("/usr/paseo-was-here");
    let script = format!(
        "[[bash: {COMMIT} 'from the sandbox']] [[bash: touch {} || echo kept out]] [[text: over]]",
        outside.display()
    );
    let mut task = stage.asking(&script).mode(Mode::Auto);
    task.worktree = Some(CreateWorktree::branch_off("feat/x", "main"));
    let done = client.create_agent(task).await.expect("it starts");
    if !has_sandbox(&client, &done.agent_id).await {
        eprintln!("skipped: the sandbox of Codex does not work on this machine");
        stage.end(&client).await;
        return;
    }
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
    let entries = timeline(&client, &done.agent_id).await;
    let calls = calls(&entries);
    assert_eq!(calls[0].status, ToolStatus::Completed, "{entries:#?}");
    assert_eq!(git(&stage, &["log", "-1", "--format=%s", "feat/x"]), "from the sandbox\n");
    assert!(!outside.exists(), "beyond its places it writes nothing");
    assert!(calls[1].output.as_deref().is_some_and(|output| output.contains("kept out")), "{entries:#?}");
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_what_can() {
    let Some((stage, client)) = stage().await else { return };
    let server: Value = json!({ "type": "sse", "url": "http://127.0.0.1:1/sse" });
    let task = CreateAgent { mcp_servers: [("lab".to_owned(), server)].into(), ..stage.free("[[text: one]]") };
    let refused = client.create_agent(task).await.expect_err("it has no words for it");
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(refused.message.contains("codex cannot use the server `lab`"), "{refused}");
    stage.end(&client).await;
}
