//! Commands that are an operation on agents or their permissions, and how its answer is shown.

use paseo_sdk::catalogue::{
    ArchiveAgent, CancelAgent, DeleteAgent, GetAgentStatus, ListAgents, ListPendingPermissions, SetAgentMode,
    UpdateAgent, WaitForAgent, WaitMode,
};
use paseo_sdk::model::{Agent, AgentRef, Behavior, Decision, Mode, Permission, Status};
use paseo_sdk::{ApiError, Code};

use crate::command::{Answer, Delete, Ls, PermitCommand, Update, Wait};
use crate::exit::{Exit, Failure};
use crate::render::{self, plural, short};
use crate::screen::Screen;
use crate::start::Daemon;
use crate::table::clean;
use crate::transcript::Seen;
use crate::{permission, place, prompt};

/// `paseo ls`.
pub(crate) async fn ls(ls: Ls, daemon: &Daemon, mut screen: Screen, json: bool) -> Result<Exit, Failure> {
    let cwd = match ls.global {
        true => None,
        false => Some(place::whole(&std::env::current_dir()?).display().to_string()),
    };
    let client = daemon.client().await?;
    let include_archived = ls.all || ls.status.contains(&Status::Archived);
    let mut request = ListAgents {
        cwd,
        statuses: ls.status,
        include_archived,
        labels: ls.labels.into_iter().collect(),
        limit: Some(1000),
        ..ListAgents::default()
    };
    let mut agents: Vec<Agent> = Vec::new();
    loop {
        let page = client.list_agents(request.clone()).await?;
        agents.extend(page.agents);
        match page.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => break,
        }
    }
    if json {
        screen.json(&agents)?;
    } else if ls.quiet {
        screen.raw(&agents.iter().map(|agent| format!("{}\n", agent.agent_id)).collect::<String>())?;
    } else if agents.is_empty() {
        screen.note(if ls.global { "no agents" } else { "no agents here; `paseo ls -g` lists those everywhere" })?;
    } else {
        screen.raw(&render::agents(&screen.out, &agents))?;
    }
    Ok(Exit::Done)
}

/// `paseo wait`.
pub(crate) async fn wait(wait: Wait, daemon: &Daemon, mut screen: Screen, json: bool) -> Result<Exit, Failure> {
    let client = daemon.client().await?;
    let mut request = WaitForAgent { timeout: wait.timeout, ..WaitForAgent::default() };
    if wait.any {
        request.mode = WaitMode::Any;
    }
    match <[AgentRef; 1]>::try_from(wait.agents) {
        Ok([agent]) => request.agent_id = Some(agent),
        Err(agents) => request.agent_ids = agents,
    }
    let outcome = client.wait_for_agent(request).await?;
    if json {
        screen.json(&outcome)?;
        return Ok(Exit::of(&outcome));
    }
    if !outcome.agents.is_empty() {
        screen.raw(&render::agents(&screen.out, &outcome.agents))?;
    } else if let Some(message) = &outcome.last_message {
        let end = if message.ends_with('\n') { "" } else { "\n" };
        screen.pieces([crate::transcript::Piece::Text(format!("{message}{end}"))])?;
    }
    screen.aside(&(render::summary(&screen.notes, &outcome, &Seen::default(), None) + "\n"))?;
    for permission in &outcome.permissions {
        screen.aside(&permission::whole(&screen.notes, permission))?;
        screen.note(&permission::how_to_answer(permission))?;
    }
    Ok(Exit::of(&outcome))
}

/// `paseo stop`.
pub(crate) async fn stop(agent: AgentRef, daemon: &Daemon, screen: Screen, json: bool) -> Result<Exit, Failure> {
    let agent = daemon.client().await?.cancel_agent(CancelAgent { agent_id: agent }).await?;
    tell(&screen, json, &agent, "stopped")
}

/// `paseo archive`.
pub(crate) async fn archive(agent: AgentRef, daemon: &Daemon, screen: Screen, json: bool) -> Result<Exit, Failure> {
    let agent = daemon.client().await?.archive_agent(ArchiveAgent { agent_id: agent }).await?;
    tell(&screen, json, &agent, "archived")
}

/// `paseo delete`.
pub(crate) async fn delete(delete: Delete, daemon: &Daemon, mut screen: Screen, json: bool) -> Result<Exit, Failure> {
    if !delete.yes && !screen.interactive {
        return Err(Failure::usage("to delete an agent needs a yes", "add --yes"));
    }
    let client = daemon.client().await?;
    let agent = client.get_agent_status(GetAgentStatus { agent_id: delete.agent }).await?;
    if !delete.yes {
        let question = format!("delete agent {} ({}) with its history?", short(&agent.agent_id), clean(&agent.title));
        prompt::confirm(&mut screen, &question)?;
    }
    let answer = client.delete_agent(DeleteAgent { agent_id: AgentRef::from(&agent.agent_id) }).await?;
    match json {
        true => screen.json(&answer)?,
        false => screen.raw(&format!("deleted {} ({})\n", short(&agent.agent_id), clean(&agent.title)))?,
    }
    Ok(Exit::Done)
}

/// `paseo inspect`.
pub(crate) async fn inspect(agent: AgentRef, daemon: &Daemon, screen: &Screen, json: bool) -> Result<Exit, Failure> {
    let agent = daemon.client().await?.get_agent_status(GetAgentStatus { agent_id: agent }).await?;
    match json {
        true => screen.json(&agent)?,
        false => screen.raw(&render::agent(&screen.out, &agent))?,
    }
    Ok(Exit::Done)
}

/// `paseo agent update`.
pub(crate) async fn update(update: Update, daemon: &Daemon, screen: Screen, json: bool) -> Result<Exit, Failure> {
    let Update { agent, title, labels, model } = update;
    let request = UpdateAgent { agent_id: agent, title, labels: labels.into_iter().collect(), model };
    let agent = daemon.client().await?.update_agent(request).await?;
    tell(&screen, json, &agent, "updated")
}

/// `paseo agent mode`.
pub(crate) async fn mode(
    agent: AgentRef,
    mode: Mode,
    daemon: &Daemon,
    screen: Screen,
    json: bool,
) -> Result<Exit, Failure> {
    let agent = daemon.client().await?.set_agent_mode(SetAgentMode { agent_id: agent, mode }).await?;
    tell(&screen, json, &agent, &format!("mode {}:", agent.mode))
}

/// `paseo permit`.
pub(crate) async fn permit(
    command: PermitCommand,
    daemon: &Daemon,
    mut screen: Screen,
    json: bool,
) -> Result<Exit, Failure> {
    match command {
        PermitCommand::Ls { quiet } => {
            let client = daemon.client().await?;
            let pending = client.list_pending_permissions(ListPendingPermissions::default()).await?.permissions;
            if json {
                screen.json(&pending)?;
            } else if quiet {
                screen.raw(
                    &pending.iter().map(|ask| format!("{}\n", clean(ask.request_id.as_str()))).collect::<String>(),
                )?;
            } else if pending.is_empty() {
                screen.note("no agent waits for permission")?;
            } else {
                screen.raw(&permission::list(&screen.out, &pending))?;
            }
            Ok(Exit::Done)
        }
        PermitCommand::Allow { answer, option_id, answers } => {
            let message = answer.message.clone();
            let decide = |asked: &_| permission::allowed(asked, option_id.clone(), message.clone(), &answers);
            respond(&answer, decide, daemon, screen, json).await
        }
        PermitCommand::Deny { answer, interrupt } => {
            let message = answer.message.clone();
            let decision = Decision { message, interrupt, ..permission::plain(Behavior::Deny) };
            respond(&answer, |_: &_| Ok(decision.clone()), daemon, screen, json).await
        }
    }
}

async fn respond(
    answer: &Answer,
    decide: impl Fn(&Permission) -> Result<Decision, Failure>,
    daemon: &Daemon,
    screen: Screen,
    json: bool,
) -> Result<Exit, Failure> {
    let client = daemon.client().await?;
    let pending = client
        .list_pending_permissions(ListPendingPermissions { agent_id: Some(answer.agent.clone()) })
        .await?
        .permissions;
    let chosen = chosen(answer, &pending)?;
    // Either all of them are answered or none is.
    let decisions = chosen.iter().map(|permission| decide(permission)).collect::<Result<Vec<_>, _>>()?;
    let mut answered: Vec<Agent> = Vec::new();
    for (permission, decision) in chosen.into_iter().zip(decisions) {
        let word = if decision.behavior == Behavior::Allow { "allowed" } else { "denied" };
        let agent = client.respond_to_permission(permission::respond(permission, decision)).await?;
        if !json {
            screen.raw(&format!("{word} {}: {}\n", short(&agent.agent_id), clean(&permission.title)))?;
        }
        answered.push(agent);
    }
    if json {
        screen.json(&answered)?;
    }
    Ok(Exit::Done)
}

/// Returns the requests that an answer is for.
fn chosen<'a>(answer: &Answer, pending: &'a [Permission]) -> Result<Vec<&'a Permission>, Failure> {
    let list = || pending.iter().map(|ask| clean(ask.request_id.as_str())).collect::<Vec<_>>().join(" ");
    let matching: Vec<_> = match &answer.request {
        None => pending.iter().collect(),
        Some(id) => match pending.iter().find(|ask| ask.request_id.as_str() == id) {
            Some(exact) => vec![exact],
            None => pending.iter().filter(|ask| ask.request_id.as_str().starts_with(id.as_str())).collect(),
        },
    };
    match (matching.len(), &answer.request) {
        (0, Some(id)) if !pending.is_empty() => Err(ApiError::new(Code::NotFound, format!("no request {}", clean(id)))
            .hint(format!("it waits for: {}", list()))
            .into()),
        (0, _) => {
            Err(ApiError::new(Code::NotFound, format!("{} waits for no permission", clean(answer.agent.as_str())))
                .hint("`paseo permit ls` lists what agents wait for")
                .into())
        }
        (1, _) => Ok(matching),
        _ if answer.all => Ok(matching),
        (count, _) => {
            let error = ApiError::new(Code::Conflict, format!("{count} {} wait", plural(count, "request")));
            Err(error.hint(format!("give one of {}, or --all", list())).into())
        }
    }
}

fn tell(screen: &Screen, json: bool, agent: &Agent, word: &str) -> Result<Exit, Failure> {
    match json {
        true => screen.json(agent)?,
        false => screen.raw(&format!("{word} {} ({})\n", short(&agent.agent_id), clean(&agent.title)))?,
    }
    Ok(Exit::Done)
}
