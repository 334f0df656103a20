//! How the program is started and made ready.

use std::collections::BTreeMap;

use paseo_sdk::model::Mode;
use paseo_sdk::provider::codex::Codex;
use paseo_sdk::provider::{
    Event, LaunchSpec, Line, Provider as _, Record, Session, Step, Surroundings, Tell, ToolServer, Unsaid, What,
};
use serde_json::{Value, json};

fn spec() -> LaunchSpec {
    LaunchSpec {
        agent_id: "a1".parse().expect("this is an id"),
        cwd: "/work".to_owned(),
        model: None,
        mode: Mode::Auto,
        thinking: None,
        system_prompt: Some("never in the arguments".to_owned()),
        trusted: true,
        mcp_config: None,
        mcp_servers: BTreeMap::new(),
        tools: None,
        git_dirs: vec!["/repository/.git/objects".to_owned(), "/repository/.git/worktrees/work".to_owned()],
        trees: vec!["/work".to_owned(), "/repository".to_owned()],
        rules: Vec::new(),
    }
}

/// A program that answers as it is told to, until its session has nothing more to say.
struct Answering {
    session: Box<dyn Session>,
    seq: i64,
    said: Vec<Value>,
    events: Vec<Event>,
}

impl Answering {
    /// Starts it; `answer` answers each request by its method.
    fn start(spec: &LaunchSpec, resume: Option<&str>, answer: impl Fn(&str) -> Value) -> Answering {
        let (said, events) = (Vec::new(), Vec::new());
        let mut it = Answering { session: Codex.session(spec), seq: 0, said, events };
        let setup = Codex.launch(spec, resume).setup;
        let mut due = it.read(What::Launched { pid: 7, start_time: 7, setup });
        while !due.is_empty() {
            for line in std::mem::take(&mut due) {
                if let Some(method) = line["method"].as_str().filter(|_| !line["id"].is_null()) {
                    let mut response = answer(method);
                    response["id"] = line["id"].clone();
                    due.extend(it.read(What::Said(Line::Text(response.to_string()))));
                }
            }
        }
        it
    }

    fn read(&mut self, what: What) -> Vec<Value> {
        self.seq += 1;
        let mut said = Vec::new();
        for step in self.session.read(&Record { seq: self.seq, at: 0, what }) {
            match step {
                Step::Say(line) => said.push(serde_json::from_str(&line).expect("a line of JSON")),
                Step::Event(event) => self.events.push(event),
            }
        }
        self.said.extend(said.iter().cloned());
        said
    }

    /// Returns the parameters of what it was asked by this method.
    fn params(&self, method: &str) -> &Value {
        let line = self.said.iter().find(|line| line["method"] == method);
        &line.unwrap_or_else(|| panic!("no {method} in {:#?}", self.said))["params"]
    }

    fn prompt(&self) -> Result<String, Unsaid> {
        let prompt = paseo_sdk::model::Prompt { text: "go".to_owned(), ..paseo_sdk::model::Prompt::default() };
        self.session.phrase(&paseo_sdk::provider::TellId("prompt.1".to_owned()), &Tell::Prompt(prompt))
    }
}

/// What a program says where everything works.
fn well(method: &str) -> Value {
    json!({ "result": match method {
        "account/read" => json!({ "account": null, "requiresOpenaiAuth": false }),
        "command/exec" => json!({ "exitCode": 0, "stdout": "", "stderr": "" }),
        "thread/start" | "thread/resume" => json!({
            "thread": { "id": "t1" },
            "model": "gpt-5.5",
            "sandbox": { "type": "workspaceWrite", "writableRoots": ["/cache"], "networkAccess": true },
        }),
        _ => json!({}),
    } })
}

/// The same, where something is another way.
fn but(method: &'static str, answer: Value) -> impl Fn(&str) -> Value {
    move |asked| if asked == method { answer.clone() } else { well(asked) }
}

#[test]
fn the_arguments_are_the_same_always_and_what_is_asked_for_is_in_the_setup() {
    let secret =
        |name: &str| json!({ "headers": { "Authorization": "Bearer of-it" }, "url": format!("http://{name}/mcp") });
    let rich = LaunchSpec {
        mcp_servers: [
            ("web".to_owned(), secret("web")),
            ("own".to_owned(), json!({ "command": "serve", "args": ["-v"], "env": { "KEY": "of-it too" } })),
        ]
        .into(),
        model: Some("gpt-5.4".to_owned()),
        thinking: Some("high".to_owned()),
        rules: vec!["command touch made".to_owned()],
        tools: Some(tools()),
        ..spec()
    };
    let launch = Codex.launch(&rich, Some("t0"));
    insta::assert_snapshot!(launch.args.join(" "), @"app-server -c features.plugins=false -c features.unbounded_connection_retries=false -c check_for_update_on_startup=false -c features.goals=false -c features.shell_snapshot=false -c tools.update_plan.enabled=true");
    let env: Vec<_> = launch.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    insta::assert_snapshot!(env.join("\n"), @"
    PASEO_MCP_0=of-it too
    PASEO_MCP_1=Bearer of-it
    ");
    let setup = launch.setup.expect("it has one");
    assert!(!setup.contains("of-it"), "a journal holds no secret: {setup}");
    let ready = Answering::start(&rich, Some("t0"), well);
    insta::assert_json_snapshot!(ready.said);
}

#[test]
fn each_mode_is_a_policy_and_a_sandbox_of_the_program() {
    let native = |name: &str| Mode::Native { provider: "codex".to_owned(), name: name.to_owned() };
    let mut rows = Vec::new();
    let broken = json!({ "result": { "exitCode": 1, "stdout": "", "stderr": "bwrap: no namespaces here" } });
    for (mode, works) in
        [Mode::Plan, Mode::Default, Mode::Auto, Mode::FullAccess, native("read-only"), native("workspace-write")]
            .into_iter()
            .flat_map(|mode| [(mode.clone(), true), (mode, false)])
    {
        let spec = LaunchSpec { mode: mode.clone(), ..spec() };
        let ready = match works {
            true => Answering::start(&spec, None, well),
            false => Answering::start(&spec, None, but("command/exec", broken.clone())),
        };
        let settings = ready.params("thread/settings/update");
        let sandboxed = &settings["sandboxPolicy"]["type"];
        let sandbox = match works {
            true => "",
            false => " without a sandbox",
        };
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let told = ready.events.iter().any(|event| matches!(event, Event::Notice(text) if text.contains("bwrap")));
        rows.push(format!(
            "{mode}{sandbox}: {} in {}, {}{}",
            text(&settings["approvalPolicy"]),
            text(sandboxed),
            text(&settings["collaborationMode"]["mode"]),
            if told { ", and says so" } else { "" },
        ));
        let root = |root: &str| {
            settings["sandboxPolicy"]["writableRoots"].as_array().is_some_and(|roots| roots.contains(&json!(root)))
        };
        if settings["sandboxPolicy"]["type"] == "workspaceWrite" {
            assert!(
                root("/repository/.git/objects") && root("/cache"),
                "commits are possible, and the user's own places: {settings}"
            );
            assert_eq!(settings["sandboxPolicy"]["networkAccess"], true, "the user's own settings count");
        }
    }
    insta::assert_snapshot!(rows.join("\n"));
}

#[test]
fn a_prompt_waits_until_the_thread_is_there_and_fails_where_it_never_will_be() {
    let mut early = Answering::start(&spec(), None, well);
    early.session = Codex.session(&spec());
    assert_eq!(early.prompt(), Err(Unsaid::NotYet), "it is not even greeted");
    let line = Answering::start(&spec(), None, well).prompt().expect("it is ready");
    assert!(line.contains("turn/start") && line.contains(r#""threadId":"t1""#), "{line}");
    let stranger = json!({ "result": { "account": null, "requiresOpenaiAuth": true } });
    let broken = json!({ "error": { "code": -32600, "message": "failed to load configuration: config.toml:1:1" } });
    for (method, answer, reason) in [
        ("account/read", stranger, "codex is not logged in: run `codex login`"),
        ("thread/start", broken, "codex cannot begin: failed to load configuration: config.toml:1:1"),
    ] {
        let failing = Answering::start(&spec(), None, but(method, answer));
        assert_eq!(failing.prompt(), Err(Unsaid::Never(reason.to_owned())));
        assert!(failing.events.contains(&Event::Unusable(reason.to_owned())), "the next process may do better");
    }
    let gone = json!({ "error": { "code": -32600, "message": "no rollout found for thread id t0" } });
    let gone = Answering::start(&spec(), Some("t0"), but("thread/resume", gone));
    assert_eq!((gone.prompt(), gone.events), (Err(Unsaid::NotYet), vec![Event::Forgotten(None)]));
}

#[test]
fn what_it_would_refuse_is_refused_before() {
    let env = BTreeMap::new();
    let check = |spec: &LaunchSpec| Codex.check(spec, &Surroundings { root: true, env: &env });
    assert_eq!(check(&LaunchSpec { mode: Mode::FullAccess, ..spec() }), Ok(()));
    let deep = LaunchSpec { thinking: Some("deeply".to_owned()), ..spec() };
    let refused = check(&deep).expect_err("there is no such effort");
    assert_eq!((refused.field, refused.hint.contains("high")), ("thinking", true));
    for (server, why) in [
        (json!({ "type": "sse", "url": "http://x" }), "it has no words for `sse`"),
        (json!({}), "it has neither a `command` nor a `url`"),
        (json!({ "command": "x", "args": "y" }), "`args` is not a list of texts"),
        (json!({ "command": "x", "env": { "a b": "c" } }), "`a b` in its `env` is not the name of a variable"),
        (json!({ "url": "http://x", "headers": { "a": 1 } }), "`headers` is not an object of texts"),
    ] {
        let refused = check(&LaunchSpec { mcp_servers: [("lab".to_owned(), server)].into(), ..spec() });
        let refused = refused.expect_err("it cannot be a server");
        assert_eq!(refused.message, format!("codex cannot use the server `lab`: {why}"));
        assert_eq!(refused.field, "mcpServers");
    }
}

#[test]
fn a_server_that_does_not_start_is_done_without_and_people_are_told() {
    let asked = std::cell::Cell::new(0);
    let ready = Answering::start(&spec(), None, |method| match method {
        "thread/start" if asked.replace(asked.get() + 1) == 0 => {
            json!({ "error": { "code": -32603, "message": "required MCP servers failed to initialize: lab: gone" } })
        }
        _ => well(method),
    });
    assert!(ready.prompt().is_ok());
    let told = |event: &Event| matches!(event, Event::Notice(text) if text.contains("does without servers") && text.contains("lab"));
    assert!(ready.events.iter().any(told), "{:?}", ready.events);
}

#[test]
fn where_its_user_has_another_server_of_that_name_it_does_without_the_tools_of_paseo_and_people_are_told() {
    let clash = "failed to load configuration: url is not supported for stdio\nin `mcp_servers.paseo`\n";
    let asked = std::cell::Cell::new(0);
    let with_tools = LaunchSpec { tools: Some(tools()), ..spec() };
    let ready = Answering::start(&with_tools, None, |method| match method {
        "thread/start" if asked.replace(asked.get() + 1) == 0 => {
            json!({ "error": { "code": -32600, "message": clash } })
        }
        _ => well(method),
    });
    assert!(ready.prompt().is_ok());
    let starts: Vec<_> = ready.said.iter().filter(|line| line["method"] == "thread/start").collect();
    let servers = |number: usize| starts[number]["params"]["config"]["mcp_servers"].as_object().expect("servers");
    assert!(starts.len() == 2 && servers(0).contains_key("paseo") && servers(1).is_empty(), "{starts:#?}");
    let instructions = |number: usize| starts[number]["params"]["developerInstructions"].as_str();
    assert!(instructions(0).is_some_and(|text| text.starts_with("The tools of the MCP server `paseo`")));
    assert_eq!(instructions(1), Some("never in the arguments"));
    let told = |event: &Event| matches!(event, Event::Notice(text) if text.contains("another server called `paseo`"));
    assert!(ready.events.iter().any(told), "{:?}", ready.events);
    // One that somebody gave to the agent is not left out, nor does this go on for ever.
    let given = json!({ "command": "serve" });
    let given = LaunchSpec { mcp_servers: [("paseo".to_owned(), given)].into(), ..spec() };
    for spec in [&given, &with_tools] {
        let refused = json!({ "error": { "code": -32600, "message": clash } });
        let failing = Answering::start(spec, None, but("thread/start", refused));
        assert!(matches!(failing.prompt(), Err(Unsaid::Never(reason)) if reason.starts_with("codex cannot begin")));
    }
}

fn tools() -> ToolServer {
    ToolServer { program: "/bin/paseo".to_owned(), args: ["__bridge", "mcp"].map(str::to_owned).to_vec() }
}

#[test]
fn a_thread_that_its_user_has_put_away_is_taken_back() {
    let asked = std::cell::Cell::new(0);
    let ready = Answering::start(&spec(), Some("t0"), |method| match method {
        "thread/resume" if asked.replace(asked.get() + 1) == 0 => {
            json!({ "error": { "code": -32600, "message": "session t0 is archived. Run `codex unarchive t0`" } })
        }
        _ => well(method),
    });
    assert!(ready.prompt().is_ok());
    assert_eq!(ready.params("thread/unarchive"), &json!({ "threadId": "t0" }));
}

#[test]
fn where_nobody_trusts_nothing_of_the_place_counts() {
    let stranger = LaunchSpec { trusted: false, cwd: "/work/below".to_owned(), ..spec() };
    let ready = Answering::start(&stranger, None, well);
    let untrusted = json!({ "trust_level": "untrusted" });
    let projects = json!({ "/work/below": untrusted, "/work": untrusted, "/repository": untrusted });
    assert_eq!(ready.params("thread/start")["config"]["projects"], projects);
    let roots = &ready.params("thread/settings/update")["sandboxPolicy"]["writableRoots"];
    assert_eq!(*roots, json!(["/cache"]), "it writes nothing that somebody's git believes");
}
