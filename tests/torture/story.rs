//! What goes on while daemons die: agents that print, that ask, that have prompts waiting, and watchers that come and go.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;

use paseo_daemon::shim::journal;
use paseo_sdk::catalogue::{
    ArchiveAgent, CancelAgent, CreateAgent, DeleteAgent, GetDaemon, ListPendingPermissions, SendAgentPrompt,
    ShutdownDaemon, UpdateAgent, WaitForAgent, WaitUntil,
};
use paseo_sdk::client::Client;
use paseo_sdk::item::{Content, Entry, Happening};
use paseo_sdk::model::{Agent, AgentId, Behavior, Event, Outcome, Permission, PromptId, WaitOutcome};
use paseo_sdk::{ApiError, Code};
use rustix::process::{Pid, Signal};
use tokio::task::JoinHandle;

use crate::conformance::stage::{answer, status};
use crate::daemon::watching::{follow, until_text};
use crate::lab::{Lab, calls, gone, timeline};

/// Agents at work.
pub(super) struct Story {
    pub(super) lab: Lab,
    pub(super) chance: Chance,
    client: Client,
    /// Prints numbered lines all the time, in one turn.
    printer: Option<Agent>,
    /// Waits for an answer all the time.
    asker: Option<(Agent, Permission)>,
    /// Are told to do one thing after the other.
    workers: Vec<Worker>,
    watchers: BTreeMap<AgentId, JoinHandle<Vec<Entry>>>,
    shim_killed: bool,
}

struct Worker {
    agent: AgentId,
    /// What was accepted, and how it ended where that is known.
    told: BTreeMap<PromptId, Option<Outcome>>,
}

impl Story {
    pub(super) fn new(lab: Lab, seed: u64) -> Story {
        let client = lab.client();
        Story {
            lab,
            chance: Chance(seed),
            client,
            printer: None,
            asker: None,
            workers: Vec::new(),
            watchers: BTreeMap::new(),
            shim_killed: false,
        }
    }

    /// Starts the agents, and returns in the middle of what they do.
    pub(super) async fn begin(&mut self) {
        let print = "i=0; until test -e stop; do i=$((i+1)); echo tick $i; sleep 0.02; done; echo over";
        let printer = self.create(self.lab.script(print).in_background()).await;
        let asker = self.client.create_agent(self.lab.asking("echo allowed")).await.expect("it asks");
        assert_eq!(asker.outcome, Some(WaitOutcome::Permission));
        self.watch(&printer);
        self.watch(&asker.agent_id);
        for number in 0..3 {
            let (id, script) = self.job();
            // One of them asks before everything that it does.
            let task = if number == 0 { self.lab.asking(&script) } else { self.lab.script(&script) };
            let agent = self.create(CreateAgent { prompt_id: Some(id.clone()), ..task.in_background() }).await;
            self.watch(&agent);
            self.workers.push(Worker { agent, told: [(id, None)].into() });
        }
        until_text(&self.client, &printer, "tick 3").await;
        self.printer = Some(status(&self.client, &printer).await);
        self.asker = Some((status(&self.client, &asker.agent_id).await, asker.permissions[0].clone()));
    }

    async fn create(&self, task: CreateAgent) -> AgentId {
        self.client.create_agent(task).await.expect("it starts").agent_id
    }

    /// A prompt whose script notes that it ran, and its id.
    fn job(&mut self) -> (PromptId, String) {
        let id = format!("job-{:016x}", self.chance.next());
        let extra =
            ["", "; sleep 0.01", "; for i in 1 2 3; do echo $i; sleep 0.005; done"][self.chance.below(3) as usize];
        (id.parse().expect("this is an id"), format!("echo {id} >> ran{extra}; echo done {id}"))
    }

    /// Has a number of things done.
    pub(super) async fn work(&mut self, count: usize) {
        for _ in 0..count {
            match self.chance.below(12) {
                0..=3 => self.one_job().await,
                4..=6 => self.several_jobs().await,
                7 => self.stopped_job().await,
                8 => self.archived_job().await,
                9 => self.short_life().await,
                10 => self.new_title().await,
                _ => self.restart().await,
            }
        }
        // So that no point is passed by.
        self.short_life().await;
        self.one_job().await;
        self.restart().await;
    }

    /// A job that is waited for.
    async fn one_job(&mut self) {
        let (id, script) = self.job();
        let worker = self.chance.below(3) as usize;
        self.send(worker, &id, &script).await;
        self.settle(worker, &id).await;
        let (agent, told) = (&self.workers[worker].agent, &self.workers[worker].told);
        assert_eq!(told[&id], Some(Outcome::Completed), "{agent}");
    }

    /// Jobs that wait for each other.
    async fn several_jobs(&mut self) {
        let worker = self.chance.below(3) as usize;
        let mut last = None;
        for _ in 0..3 {
            let (id, script) = self.job();
            self.send(worker, &id, &script).await;
            last = Some(id);
        }
        self.settle(worker, &last.expect("there are several")).await;
    }

    /// A job that is stopped, if it is not done before.
    async fn stopped_job(&mut self) {
        let (id, script) = self.job();
        let worker = 1 + self.chance.below(2) as usize;
        self.send(worker, &id, &format!("{script}; sleep 1000")).await;
        let agent = self.workers[worker].agent.clone();
        until_taken(|| self.client.cancel_agent(CancelAgent { agent_id: (&agent).into() })).await.expect("it stops");
        self.settle(worker, &id).await;
        assert_eq!(self.workers[worker].told[&id], Some(Outcome::Interrupted), "{agent}");
    }

    /// A job for an agent that was archived before.
    async fn archived_job(&mut self) {
        let worker = self.chance.below(3) as usize;
        let agent = self.workers[worker].agent.clone();
        let archive = || self.client.archive_agent(ArchiveAgent { agent_id: (&agent).into() });
        until_taken(archive).await.expect("it is archived");
        let (id, script) = self.job();
        self.send(worker, &id, &script).await;
        self.settle(worker, &id).await;
    }

    /// An agent that is made, does something, and is deleted.
    async fn short_life(&mut self) {
        let done = self.client.create_agent(self.lab.script("echo here")).await.expect("it runs");
        assert_eq!(done.last_message.as_deref(), Some("here"), "{done:?}");
        let delete = || self.client.delete_agent(DeleteAgent { agent_id: (&done.agent_id).into() });
        let deleted = until_taken(delete).await;
        // Where the daemon has died of it, it was gone when it was asked for again.
        assert!(deleted.is_ok() || deleted.is_err_and(|error| error.code == Code::NotFound));
    }

    async fn new_title(&mut self) {
        let worker = &self.workers[self.chance.below(3) as usize].agent;
        let title = format!("title {}", self.chance.0);
        let update =
            UpdateAgent { agent_id: worker.into(), title: Some(title.clone()), labels: BTreeMap::new(), model: None };
        assert_eq!(self.client.update_agent(update).await.expect("it is renamed").title, title);
        assert_eq!(status(&self.client, worker).await.title, title);
    }

    async fn restart(&self) {
        let restart = || self.client.shutdown_daemon(ShutdownDaemon { with_agents: false, restart: true });
        until_taken(restart).await.expect("it restarts");
    }

    async fn send(&mut self, worker: usize, id: &PromptId, script: &str) {
        let Worker { agent, told } = &mut self.workers[worker];
        let prompt =
            SendAgentPrompt { prompt_id: Some(id.clone()), ..SendAgentPrompt::new(&*agent, script).in_background() };
        self.client.send_agent_prompt(prompt).await.expect("it is accepted");
        told.insert(id.clone(), None);
    }

    /// Waits for the end of a prompt, and allows whatever is asked for on the way.
    async fn settle(&mut self, worker: usize, id: &PromptId) {
        let Worker { agent, told } = &mut self.workers[worker];
        let outcome = loop {
            let wait = WaitForAgent { prompt_id: Some(id.clone()), ..WaitForAgent::one(&*agent) };
            let waited = self.client.wait_for_agent(wait).await.expect("it ends");
            match waited.outcome.expect("it has one") {
                WaitOutcome::Permission => {
                    for permission in &waited.permissions {
                        let allow = answer(agent, permission, Behavior::Allow);
                        self.client.respond_to_permission(allow).await.expect("it is answered");
                    }
                }
                WaitOutcome::Completed => break Outcome::Completed,
                WaitOutcome::Interrupted => break Outcome::Interrupted,
                other => panic!("{agent}, {id}: {other:?}: {waited:?}"),
            }
        };
        told.insert(id.clone(), Some(outcome));
    }

    /// Follows an agent to its last entry, letting go and coming back now and then.
    fn watch(&mut self, agent: &AgentId) {
        let (client, agent_id, mut chance) = (self.client.clone(), agent.clone(), Chance(self.chance.next()));
        let watching = tokio::spawn(async move {
            let mut seen: Vec<Entry> = Vec::new();
            loop {
                let mut watch = client.watch(follow(&agent_id, seen.len() as i64));
                for _ in 0..chance.below(30) {
                    match watch.next().await.expect("a watch goes on").expect("a watch goes on") {
                        Event::AgentEntry { entry, .. } => {
                            assert_eq!(entry.seq, seen.len() as i64 + 1, "of {agent_id}");
                            seen.push(*entry);
                        }
                        // The story is over.
                        Event::AgentChanged(agent) if agent.title == THE_END && agent.last_seq == seen.len() as i64 => {
                            return seen;
                        }
                        Event::AgentChanged(_) | Event::AgentText { .. } | Event::AgentRemoved { .. } => {}
                    }
                }
            }
        });
        self.watchers.insert(agent.clone(), watching);
    }

    /// Kills the shim of a worker that does something.
    pub(super) async fn kill_a_shim(&mut self) {
        self.shim_killed = true;
        let printer = self.printer.as_ref().expect("it prints");
        let run = self.lab.home().join(format!("agents/{}/runs/1", printer.agent_id));
        let shim = journal::processes(&run).expect("its file").expect("its shim").shim_pid;
        let shim = i32::try_from(shim).ok().and_then(Pid::from_raw).expect("a pid");
        rustix::process::kill_process(shim, Signal::KILL).expect("it runs");
        let shim = format!("{shim:?}");
        gone(&self.lab.work(), |process| process.starts_with(&shim)).await;
    }

    /// Leaves the beginning of a line at the end of an outbox and of a timeline, as a loss of power does.
    pub(super) fn damage(&self) {
        for name in ["outbox", "timeline"] {
            let file = self.lab.home().join(format!("agents/{}/{name}.ndjson", self.workers[1].agent));
            let file = fs::OpenOptions::new().append(true).open(file);
            file.and_then(|mut file| file.write_all(b"{\"torn")).expect("damage");
        }
    }

    /// Lets an agent print so much that its journal is carried over.
    pub(super) async fn fill_a_journal(&mut self) {
        let (id, script) = self.job();
        self.send(1, &id, &format!("{script}; head -c 9000000 /dev/zero | tr '\\0' x | fold -w 1000")).await;
        self.settle(1, &id).await;
    }

    /// Checks that the printer and the asker are what they were.
    pub(super) async fn same_processes(&self) {
        let printer = self.printer.as_ref().expect("it prints");
        let now = status(&self.client, &printer.agent_id).await;
        assert_eq!((now.status, now.pid, &now.turn), (printer.status, printer.pid, &printer.turn));
        let (asker, permission) = self.asker.as_ref().expect("it asks");
        let now = status(&self.client, &asker.agent_id).await;
        assert_eq!((now.status, now.pid, &now.permissions), (asker.status, asker.pid, &asker.permissions));
        let pending = self.client.list_pending_permissions(ListPendingPermissions::default()).await.expect("a list");
        assert!(pending.permissions.iter().any(|pending| pending.request_id == permission.request_id));
    }

    /// Lets everything come to its end.
    pub(super) async fn come_to_rest(&mut self) {
        if !self.shim_killed {
            self.same_processes().await;
        }
        let (asker, permission) = self.asker.clone().expect("it asks");
        let allow = answer(&asker.agent_id, &permission, Behavior::Allow);
        self.client.respond_to_permission(allow).await.expect("it can still be answered");
        fs::write(self.lab.work().join("stop"), "").expect("it is told to stop");
        for worker in 0..self.workers.len() {
            let unsettled = self.workers[worker].told.iter().filter(|(_, outcome)| outcome.is_none());
            for id in unsettled.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                self.settle(worker, &id).await;
            }
        }
        for agent in self.watchers.keys() {
            let wait = WaitForAgent { until: WaitUntil::Finished, ..WaitForAgent::one(agent) };
            self.client.wait_for_agent(wait).await.expect("it ends");
            let update = UpdateAgent {
                agent_id: agent.into(),
                title: Some(THE_END.to_owned()),
                labels: BTreeMap::new(),
                model: None,
            };
            self.client.update_agent(update).await.expect("it is renamed");
        }
    }

    /// Checks what is left in the end, with a daemon that nobody kills; returns how many prompts there were, and entries.
    pub(super) async fn judge(mut self, damaged: bool) -> (usize, usize) {
        let _daemon = self.lab.process();
        let mut count = 0;
        for (agent, seen) in std::mem::take(&mut self.watchers) {
            let entries = timeline(&self.client, &agent).await;
            assert_eq!(seen.await.expect("it could follow"), entries, "what a watcher saw of {agent}");
            count += entries.len();
        }
        self.judge_standing().await;
        let ran = fs::read_to_string(self.lab.work().join("ran")).unwrap_or_default();
        for Worker { agent, told } in &self.workers {
            let entries = timeline(&self.client, agent).await;
            for (id, outcome) in told {
                let times = ran.lines().filter(|line| *line == id.as_str()).count();
                let most = usize::from(*outcome != Some(Outcome::Completed));
                assert!(times <= 1 && times + most >= 1, "{id} of {agent} ran {times} times: {outcome:?}");
                judge_prompt(&entries, id, outcome.expect("it is settled"));
            }
        }
        let warnings = self.client.get_daemon(GetDaemon {}).await.expect("the daemon").warnings;
        assert!(damaged || warnings.is_empty(), "{warnings:?}");
        let prompts = self.workers.iter().map(|worker| worker.told.len()).sum();
        self.lab.end(&self.client).await;
        (prompts, count)
    }

    /// Checks the two agents that had one turn over all of it.
    async fn judge_standing(&self) {
        let printer = self.printer.as_ref().expect("it prints");
        let entries = timeline(&self.client, &printer.agent_id).await;
        let output = calls(&entries)[0].output.clone().expect("it has printed");
        let ticks: Vec<_> = output.lines().filter(|line| line.starts_with("tick ")).collect();
        let expected: Vec<_> = (1..=ticks.len()).map(|tick| format!("tick {tick}")).collect();
        assert_eq!(ticks, expected, "each line once, in order");
        assert_eq!(output.ends_with("over\n"), !self.shim_killed, "{output}");
        let (asker, _) = self.asker.as_ref().expect("it asks");
        let entries = timeline(&self.client, &asker.agent_id).await;
        assert_eq!(calls(&entries)[0].output.as_deref(), Some("allowed\n"));
    }
}

/// Asks for what a client does not ask for twice by itself, until it is known to be done.
async fn until_taken<T, F: Future<Output = Result<T, ApiError>>>(ask: impl Fn() -> F) -> Result<T, ApiError> {
    let mut answer = ask().await;
    for _ in 0..100 {
        match answer {
            Err(error) if error.code == Code::Unavailable => answer = ask().await,
            _ => break,
        }
    }
    answer
}

/// Checks that a prompt was said, begun and ended once.
fn judge_prompt(entries: &[Entry], id: &PromptId, outcome: Outcome) {
    let mut counts = (0, 0, 0);
    for entry in entries.iter().filter(|entry| entry.turn_id.as_ref().is_some_and(|turn| turn.as_str() == id.as_str()))
    {
        match &entry.what {
            Happening::TurnStarted { .. } => counts.0 += 1,
            Happening::ItemClosed { item } if matches!(item.content, Content::UserMessage { .. }) => counts.1 += 1,
            Happening::TurnEnded { outcome: ended, .. } => {
                assert_eq!(*ended, outcome, "{id}");
                counts.2 += 1;
            }
            _ => {}
        }
    }
    assert_eq!(counts, (1, 1, 1), "{id} was begun, said and ended once: {entries:#?}");
}

/// Numbers that look random and follow from a seed.
pub(super) struct Chance(u64);

impl Chance {
    /// SplitMix64.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// The title by which watchers know that nothing more comes.
const THE_END: &str = "the end";
