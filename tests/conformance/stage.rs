//! A place for one case: a lab, the model that the provider's program talks to, and how this provider is asked for things.

use std::path::PathBuf;

use paseo_daemon::Daemon;
use paseo_sdk::Client;
use paseo_sdk::catalogue::{
    AgentOutcome, CreateAgent, GetAgentStatus, RespondToPermission, SendAgentPrompt, WaitForAgent,
};
use paseo_sdk::item::{Entry, Happening, Item};
use paseo_sdk::model::{Agent, AgentId, Behavior, Mode, Permission, WaitOutcome};
use rustix::fs::inotify;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::daemon::watching::{until, until_call};
use crate::journal;
use crate::lab::{Lab, Process, calls, timeline};
use crate::messages_api::MessagesApi;
use crate::messages_api::program::claude_environment;
use crate::responses_api::ResponsesApi;
use crate::responses_api::program::{codex_environment, codex_environment_without_login};

/// Which provider.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Shell,
    Claude { program: PathBuf },
    Codex { program: PathBuf },
}

impl Kind {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Shell => "shell",
            Kind::Claude { .. } => "claude",
            Kind::Codex { .. } => "codex",
        }
    }

    /// Returns a task that says something.
    pub(crate) fn says(&self, text: &str) -> String {
        match self {
            Kind::Shell => format!("echo {text}"),
            Kind::Claude { .. } | Kind::Codex { .. } => format!("[[text: {text}]]"),
        }
    }

    /// Returns a task that runs a command.
    pub(crate) fn runs(&self, command: &str) -> String {
        match self {
            Kind::Shell => command.to_owned(),
            Kind::Claude { .. } | Kind::Codex { .. } => format!("[[bash: {command}]] [[text: it ran]]"),
        }
    }

    /// Returns a step in which a model calls a tool of paseo.
    pub(crate) fn calls(&self, tool: &str, input: &Value) -> String {
        match self {
            Kind::Shell => panic!("a script calls no tools"),
            Kind::Claude { .. } => format!("[[tool: mcp__paseo__{tool} {input}]]"),
            Kind::Codex { .. } => format!("[[tool: mcp__paseo/{tool} {input}]]"),
        }
    }

    /// Says whether a tool's output tells that an agent has finished, and what it said: one program shows its model the
    /// answer as JSON, the other one as text.
    pub(crate) fn tells_end(&self, output: &str, said: &str) -> bool {
        let (ended, said) = match self {
            Kind::Claude { .. } => (r#""outcome":"completed""#, Value::from(said).to_string()),
            Kind::Shell | Kind::Codex { .. } => ("has finished; it said:", said.to_owned()),
        };
        output.contains(ended) && output.contains(&said)
    }

    /// Returns a task that says `gate is held` and then nothing until it is let go on.
    pub(crate) fn streams(&self) -> String {
        match self {
            Kind::Shell => "printf 'gate is held '; cat go >/dev/null; echo and released".to_owned(),
            Kind::Claude { .. } | Kind::Codex { .. } => "[[hold: gate]]".to_owned(),
        }
    }

    fn program(&self) -> Option<&PathBuf> {
        match self {
            Kind::Shell => None,
            Kind::Claude { program } | Kind::Codex { program } => Some(program),
        }
    }
}

/// The model that a provider's program talks to.
pub(crate) enum Model {
    /// There is none.
    None,
    Messages(MessagesApi),
    Responses(ResponsesApi),
}

impl Model {
    /// Lets it go on where it waits for that.
    pub(crate) fn release(&self, gate: &str) {
        match self {
            Model::None => {}
            Model::Messages(api) => api.release(gate),
            Model::Responses(api) => api.release(gate),
        }
    }

    /// There is no model of this name.
    pub(crate) fn forget(&self, name: &str) {
        match self {
            Model::None => {}
            Model::Messages(api) => api.forget_model(name),
            Model::Responses(api) => api.forget_model(name),
        }
    }

    /// Takes no other key from now on.
    pub(crate) fn require_key(&self, key: &str) {
        match self {
            Model::None => {}
            Model::Messages(api) => api.require_key(key),
            Model::Responses(api) => api.require_key(key),
        }
    }

    /// The one that Claude talks to.
    pub(crate) fn messages(&self) -> &MessagesApi {
        match self {
            Model::Messages(api) => api,
            Model::None | Model::Responses(_) => panic!("this is for Claude"),
        }
    }

    /// Returns which model was asked last, and every text of that conversation.
    pub(crate) fn asked(&self) -> (String, Vec<String>) {
        match self {
            Model::None => panic!("there is no model"),
            Model::Messages(api) => {
                let last = api.requests().pop().expect("it was asked");
                let texts = last.messages.iter().flat_map(|message| message.texts().map(str::to_owned));
                (last.model.clone(), texts.collect())
            }
            Model::Responses(api) => {
                let last = api.requests().pop().expect("it was asked");
                let messages = last.input.iter().filter_map(|item| item.message());
                let texts = messages.flat_map(|message| message.texts().map(str::to_owned)).collect();
                (last.model, texts)
            }
        }
    }
}

/// The place of one case.
pub(crate) struct Stage {
    pub(crate) kind: Kind,
    pub(crate) lab: Lab,
    pub(crate) model: Model,
    daemon: Option<Daemon>,
    process: Option<Process>,
}

impl Stage {
    pub(crate) async fn new(kind: Kind) -> Stage {
        let mut lab = Lab::new();
        let home = lab.path(kind.name());
        std::fs::create_dir(&home).expect("a home for the program");
        let model = match &kind {
            Kind::Shell => Model::None,
            Kind::Claude { .. } => {
                let api = MessagesApi::start().await;
                lab.set_env(claude_environment(&home, &api));
                // As root the program goes without asking only where it is told that this is a sandbox.
                lab.set_env([("IS_SANDBOX".to_owned(), "1".to_owned())]);
                Model::Messages(api)
            }
            Kind::Codex { .. } => {
                let api = ResponsesApi::start().await;
                lab.set_env(codex_environment(&home, &api));
                Model::Responses(api)
            }
        };
        if let Some(program) = kind.program() {
            let directory = program.parent().expect("it is in a directory").display();
            let path = format!("{directory}:{}", std::env::var("PATH").expect("a path"));
            lab.set_env([("PATH".to_owned(), path)]);
        }
        lab.fifo("started");
        lab.fifo("go");
        Stage { kind, lab, model, daemon: None, process: None }
    }

    /// Starts a daemon in this process, unless there is one, and returns a client of it.
    pub(crate) async fn client(&mut self) -> Client {
        if self.daemon.is_none() {
            self.daemon = Some(self.lab.daemon().await);
        }
        self.lab.client()
    }

    /// Takes away what the program logs in with.
    pub(crate) fn log_out(&mut self) {
        match &self.model {
            Model::None => {}
            // An empty key is none.
            Model::Messages(_) => self.lab.set_env([("ANTHROPIC_API_KEY".to_owned(), String::new())]),
            Model::Responses(api) => {
                let home = self.lab.path(self.kind.name());
                self.lab.set_env(codex_environment_without_login(&home, api));
                let directory = self.kind.program().expect("it has one").parent().expect("it is in a directory");
                let path = format!("{}:{}", directory.display(), std::env::var("PATH").expect("a path"));
                self.lab.set_env([("PATH".to_owned(), path)]);
            }
        }
    }

    /// Starts the daemon in this process again, in another environment.
    pub(crate) async fn restart(&mut self, env: impl IntoIterator<Item = (String, String)>) {
        if let Some(daemon) = self.daemon.take() {
            daemon.shutdown().await;
        }
        self.lab.set_env(env);
        self.client().await;
    }

    /// Starts a daemon in a process of its own.
    pub(crate) fn start(&mut self) -> Client {
        self.process = Some(self.lab.process());
        self.lab.client()
    }

    /// Kills the daemon as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Returns when the daemon has died by itself.
    pub(crate) async fn died(&mut self) {
        let process = self.process.take().expect("it runs");
        let code = tokio::task::spawn_blocking(move || process.ended()).await.expect("no panic");
        assert_eq!(code, None, "by a signal");
    }

    /// Returns a task that goes ahead without asking.
    pub(crate) fn free(&self, prompt: &str) -> CreateAgent {
        self.asking(prompt).mode(Mode::FullAccess)
    }

    /// Returns a task that asks first.
    pub(crate) fn asking(&self, prompt: &str) -> CreateAgent {
        CreateAgent {
            // One process less for each agent; `injection` is about these tools.
            inject_tools: Some(false),
            ..CreateAgent::new("a case", self.kind.name(), prompt).cwd(self.lab.work().display().to_string())
        }
    }

    /// Starts a task that asks, and returns what it asks for.
    pub(crate) async fn asks(&self, client: &Client, prompt: &str) -> (AgentId, Permission) {
        let asking = client.create_agent(self.asking(prompt)).await.expect("it starts");
        assert_eq!(asking.outcome, Some(WaitOutcome::Permission), "{asking:?}");
        let [permission] = &asking.permissions[..] else { panic!("one question: {asking:?}") };
        (asking.agent_id, permission.clone())
    }

    /// Starts a task that runs a command which waits to be let go on, and returns when it does.
    pub(crate) async fn runs(&self, client: &Client) -> AgentId {
        let prompt = self.kind.runs("echo on > started; cat go > end; echo over");
        let agent = client.create_agent(self.free(&prompt).in_background()).await.expect("it starts").agent_id;
        self.started(client, &agent).await;
        agent
    }

    /// Returns when the command that runs has said so, and the daemon has heard that it does.
    pub(crate) async fn started(&self, client: &Client, agent: &AgentId) {
        let started = self.lab.work().join("started");
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(started));
        tokio::select! {
            said = read => {
                assert_eq!(said.expect("no panic").expect("a pipe"), "on\n");
                until_call(client, agent).await;
            }
            ended = client.wait_for_agent(WaitForAgent::one(agent)) => {
                // The reader lets go when somebody writes.
                let _ = std::fs::write(self.lab.work().join("started"), "");
                panic!("it ended before its command ran: {ended:?}");
            }
        }
    }

    /// Returns when the agent's first process has said a line that contains this.
    pub(crate) async fn said(&self, agent: &AgentId, text: &str) {
        let journal = self.lab.home().join(format!("agents/{agent}/runs/1/journal-000001.ndjson"));
        let text = serde_json::to_string(text).expect("a text").trim_matches('"').to_owned();
        let written = move || {
            let watch = inotify::init(inotify::CreateFlags::CLOEXEC).expect("files can be watched");
            inotify::add_watch(&watch, &journal, inotify::WatchFlags::MODIFY).expect("it is there");
            while !std::fs::read_to_string(&journal).expect("its journal").contains(&text) {
                rustix::io::read(&watch, &mut [0; 4096][..]).expect("it is written to");
            }
        };
        tokio::task::spawn_blocking(written).await.expect("no panic");
    }

    /// Lets the command, or the model, go on.
    pub(crate) async fn go_on(&self) {
        self.model.release("gate");
        if matches!(self.kind, Kind::Shell) {
            self.let_command_go().await;
        }
    }

    /// Lets the command go on.
    pub(crate) async fn let_command_go(&self) {
        let go = self.lab.work().join("go");
        tokio::task::spawn_blocking(move || std::fs::write(go, "go")).await.expect("no panic").expect("it is read");
    }

    /// Ends the agents, and checks that nothing of them is left.
    pub(crate) async fn end(self, client: &Client) {
        self.lab.stop(client).await;
        journal::record(&self.lab);
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.lab.work().join(name)
    }
}

/// Gives the tools of paseo to a task.
pub(crate) fn with_tools(task: CreateAgent) -> CreateAgent {
    CreateAgent { inject_tools: None, ..task }
}

/// Returns what an agent's tools printed, in order, as its model read it.
pub(crate) async fn outputs(client: &Client, agent: &AgentId) -> Vec<String> {
    let entries = timeline(client, agent).await;
    calls(&entries).iter().map(|call| call.output.clone().unwrap_or_default()).collect()
}

pub(crate) fn answer(agent: &AgentId, permission: &Permission, behavior: Behavior) -> RespondToPermission {
    RespondToPermission {
        agent_id: agent.into(),
        request_id: permission.request_id.clone(),
        behavior,
        option_id: None,
        message: None,
        updated_input: None,
        interrupt: false,
    }
}

/// Returns the one question that somebody's task has come to.
pub(crate) fn question(asking: &AgentOutcome) -> &Permission {
    let [permission] = &asking.permissions[..] else { panic!("one question: {asking:?}") };
    permission
}

/// Waits for the end of a task that goes well.
pub(crate) async fn ended(client: &Client, agent: &AgentId) -> AgentOutcome {
    let done = client.wait_for_agent(WaitForAgent::one(agent)).await.expect("it ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
    done
}

/// Returns the items of a timeline that are closed.
pub(crate) fn items(entries: &[Entry]) -> Vec<&Item> {
    entries
        .iter()
        .filter_map(|entry| match &entry.what {
            Happening::ItemClosed { item } => Some(item),
            _ => None,
        })
        .collect()
}

/// Says something more and waits for its end.
pub(crate) async fn send(client: &Client, agent: &AgentId, prompt: &str) -> AgentOutcome {
    client.send_agent_prompt(SendAgentPrompt::new(agent, prompt)).await.expect("it is sent")
}

pub(crate) async fn status(client: &Client, agent: &AgentId) -> Agent {
    client.get_agent_status(GetAgentStatus { agent_id: agent.into() }).await.expect("it is there")
}

/// Kills an agent's process, as the system does that runs out of memory, and returns when that is noticed.
pub(crate) async fn kill_agent(client: &Client, agent: &AgentId) {
    let pid = status(client, agent).await.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    rustix::process::kill_process(pid.expect("it has a process"), Signal::KILL).expect("it is killed");
    until(client, agent, |agent| agent.pid.is_none()).await;
}

/// Returns how many turns the timeline knows, all of them ended.
pub(crate) async fn turns(client: &Client, agent: &AgentId) -> usize {
    let entries = timeline(client, agent).await;
    let count = |is: fn(&Happening) -> bool| entries.iter().filter(|entry| is(&entry.what)).count();
    let started = count(|what| matches!(what, Happening::TurnStarted { .. }));
    assert_eq!(started, count(|what| matches!(what, Happening::TurnEnded { .. })), "{entries:#?}");
    started
}

/// Returns the notices of a timeline.
pub(crate) fn notices(entries: &[Entry]) -> Vec<&str> {
    entries
        .iter()
        .filter_map(|entry| match &entry.what {
            Happening::Notice { text } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}
