//! `paseo run`, `send` and `attach`: a task is handed over, then followed.

use paseo_sdk::Code;
use paseo_sdk::catalogue::{
    AgentOutcome, CreateAgent, CreateWorktree, GetAgentStatus, GetAgentTimeline, SendAgentPrompt, WhenBusy,
    WorktreeAction,
};
use paseo_sdk::client::Client;
use paseo_sdk::item::{Happening, Kind};
use paseo_sdk::model::{Agent, AgentId, AgentRef, Duration, PromptId};

use crate::bar;
use crate::command::{Run, Send, Variable};
use crate::exit::{Exit, Failure};
use crate::prompt;
use crate::render::short;
use crate::screen::Screen;
use crate::start::Daemon;
use crate::transcript::Voice;
use crate::watch::Follow;
use crate::worktrees::directory;

/// `paseo run`.
pub(crate) async fn run(run: Run, daemon: &Daemon, mut screen: Screen, json: bool) -> Result<Exit, Failure> {
    let (agent_id, prompt_id) = (agent_id(), prompt_id());
    let (background, timeout, voice) = (run.background, run.timeout, Voice::of(&run.provider));
    let request = request(run, &agent_id, &prompt_id)?;
    let client = daemon.client().await?;
    if let Some(branch) = request.worktree.as_ref().and_then(|worktree| worktree.branch_name.as_ref())
        && !json
    {
        screen.note(&format!("worktree {branch} is being made"))?;
    }
    let accepted = bar::show(&client, json, async |client| client.create_agent(request).await).await?;
    if background {
        if !json {
            notices(&client, &agent_id, &mut screen).await?;
        }
        return in_background(&accepted, screen, json);
    }
    let follow = Follow { client, agent: agent_id, prompt: Some(prompt_id), after: 0, deadline: None, voice };
    followed(follow, timeout, screen, json).await
}

/// `paseo send`.
pub(crate) async fn send(send: Send, daemon: &Daemon, screen: Screen, json: bool) -> Result<Exit, Failure> {
    let prompt = prompt::text(send.prompt)?;
    let images = prompt::images(&send.images)?;
    let client = daemon.client().await?;
    let agent = client.get_agent_status(GetAgentStatus { agent_id: send.agent }).await?;
    let prompt_id = prompt_id();
    let when_busy = match (send.interrupt, send.steer) {
        (true, _) => WhenBusy::Interrupt,
        (false, true) => WhenBusy::Steer,
        (false, false) => WhenBusy::Queue,
    };
    let request = SendAgentPrompt {
        prompt_id: Some(prompt_id.clone()),
        images,
        raw: send.raw,
        when_busy,
        notify_on_finish: send.notify,
        ..SendAgentPrompt::new(&agent.agent_id, prompt)
    };
    let accepted = client.send_agent_prompt(request.in_background()).await?;
    if send.background {
        return in_background(&accepted, screen, json);
    }
    let (voice, after) = (Voice::of(&agent.provider), agent.last_seq);
    let follow = Follow { client, agent: agent.agent_id, prompt: Some(prompt_id), after, deadline: None, voice };
    followed(follow, send.timeout, screen, json).await
}

/// `paseo attach`.
pub(crate) async fn attach(agent: AgentRef, daemon: &Daemon, screen: Screen, json: bool) -> Result<Exit, Failure> {
    let client = daemon.client().await?;
    let agent = client.get_agent_status(GetAgentStatus { agent_id: agent }).await?;
    let after = before_open_turn(&client, &agent).await?;
    let voice = Voice::of(&agent.provider);
    followed(Follow { client, agent: agent.agent_id, prompt: None, after, deadline: None, voice }, None, screen, json)
        .await
}

/// Returns the number of the last entry before the turn that runs, or of the last one when none runs.
pub(crate) async fn before_open_turn(client: &Client, agent: &Agent) -> Result<i64, Failure> {
    let Some(turn) = &agent.turn else { return Ok(agent.last_seq) };
    let request = GetAgentTimeline {
        limit: Some(1),
        kinds: vec![Kind::TurnStarted],
        ..GetAgentTimeline::newest(&agent.agent_id)
    };
    let page = client.get_agent_timeline(request).await?;
    let started = page.entries.last().filter(|entry| entry.turn_id.as_ref() == Some(&turn.turn_id));
    // A turn that has ended in between has no open beginning any more.
    Ok(started.map_or(agent.last_seq, |entry| entry.seq - 1))
}

fn request(run: Run, agent_id: &AgentId, prompt_id: &PromptId) -> Result<CreateAgent, Failure> {
    let prompt = prompt::text(run.prompt)?;
    let cwd = directory(run.cwd.as_deref())?;
    let worktree = match (run.worktree, run.pr) {
        (Some(branch), _) => Some(CreateWorktree {
            action: Some(WorktreeAction::BranchOff),
            branch_name: Some(branch),
            base_branch: run.base,
            cwd: Some(cwd.clone()),
            ..CreateWorktree::default()
        }),
        (None, Some(number)) => {
            Some(CreateWorktree { github_pr_number: Some(number), cwd: Some(cwd.clone()), ..CreateWorktree::default() })
        }
        (None, None) => None,
    };
    let env = run.env.into_iter().map(value).collect::<Result<_, _>>()?;
    let title = run.title.unwrap_or_else(|| prompt::title(&prompt));
    Ok(CreateAgent {
        cwd: Some(cwd),
        background: true,
        notify_on_finish: run.notify,
        agent_id: Some(agent_id.clone()),
        prompt_id: Some(prompt_id.clone()),
        mode: run.mode,
        labels: run.labels.into_iter().collect(),
        images: prompt::images(&run.images)?,
        thinking: run.thinking,
        raw: run.raw,
        inject_tools: run.no_tools.then_some(false),
        env,
        worktree,
        ..CreateAgent::new(title, run.provider, prompt)
    })
}

/// Shows what there was to say about a task before it began.
async fn notices(client: &Client, agent: &AgentId, screen: &mut Screen) -> Result<(), Failure> {
    let first = GetAgentTimeline { limit: Some(NOTICES), ..GetAgentTimeline::after(agent, 0) };
    for entry in client.get_agent_timeline(first).await?.entries {
        let Happening::Notice { text } = &entry.what else { break };
        screen.note(&format!("note: {text}"))?;
    }
    Ok(())
}

/// How many of them there may be.
const NOTICES: i64 = 10;

fn value(variable: Variable) -> Result<(String, String), Failure> {
    let Variable { name, value } = variable;
    match value.map_or_else(|| std::env::var(&name), Ok) {
        Ok(value) => Ok((name, value)),
        Err(error) => {
            let hint = format!("write --env {name}=value, or set it in this shell");
            Err(Failure::usage(format!("--env {name}: {error}"), hint))
        }
    }
}

fn in_background(accepted: &AgentOutcome, mut screen: Screen, json: bool) -> Result<Exit, Failure> {
    if json {
        screen.json(accepted)?;
        return Ok(Exit::Done);
    }
    screen.raw(&format!("{}\n", accepted.agent_id))?;
    let id = short(&accepted.agent_id);
    screen.note(&format!("watch: paseo attach {id}\nwait:  paseo wait {id}"))?;
    Ok(Exit::Done)
}

async fn followed(follow: Follow, timeout: Option<Duration>, screen: Screen, json: bool) -> Result<Exit, Failure> {
    let timeout = timeout.map(|timeout| u64::try_from(timeout.milliseconds).unwrap_or_default());
    // A time to wait beyond what a clock can tell is no limit.
    let deadline = timeout.and_then(|milliseconds| {
        tokio::time::Instant::now().checked_add(std::time::Duration::from_millis(milliseconds))
    });
    let follow = Follow { deadline, ..follow };
    if json {
        let outcome = follow.wait(Default::default()).await?;
        screen.json(&outcome)?;
        return Ok(Exit::of(&outcome));
    }
    follow.show(screen).await
}

fn agent_id() -> AgentId {
    uuid::Uuid::new_v4().to_string().parse().expect("a uuid is an id")
}

fn prompt_id() -> PromptId {
    uuid::Uuid::new_v4().to_string().parse().expect("a uuid is an id")
}

/// The refusal when what was followed is gone.
pub(crate) fn deleted(agent: &AgentId) -> Failure {
    paseo_sdk::ApiError::new(Code::NotFound, format!("agent {} was deleted", short(agent))).into()
}
