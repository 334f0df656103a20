//! Commands that are an operation on worktrees or providers.

use std::path::Path;

use paseo_sdk::catalogue::{CreateWorktree, ListModels, ListProviders, ListWorktrees, WorktreeAction};
use paseo_sdk::model::SetupStatus;

use crate::bar;
use crate::command::{ProviderCommand, WorktreeCommand};
use crate::exit::{Exit, Failure};
use crate::render;
use crate::screen::Screen;
use crate::start::Daemon;
use crate::table::clean;

/// `paseo worktree`.
pub(crate) async fn worktree(
    command: WorktreeCommand,
    daemon: &Daemon,
    mut screen: Screen,
    json: bool,
) -> Result<Exit, Failure> {
    match command {
        WorktreeCommand::Create(create) => {
            let action = match (&create.branch, &create.checkout) {
                (Some(_), _) => Some(WorktreeAction::BranchOff),
                (None, Some(_)) => Some(WorktreeAction::Checkout),
                (None, None) => None,
            };
            let request = CreateWorktree {
                action,
                branch_name: create.branch,
                base_branch: create.base,
                ref_name: create.checkout,
                github_pr_number: create.pr,
                cwd: Some(directory(create.cwd.as_deref())?),
                worktree_slug: create.slug,
                fetch: create.fetch,
                wait_for_setup: None,
                trust: create.trust,
            };
            let client = daemon.client().await?;
            let made = bar::show(&client, json, async |client| client.create_worktree(request).await).await?;
            if json {
                screen.json(&made)?;
                return Ok(Exit::Done);
            }
            if !made.created {
                screen.note("it was there already")?;
            }
            if let (SetupStatus::Failed | SetupStatus::Skipped, Some(why)) = (made.setup.status, &made.setup.message) {
                screen.note(&format!("setup: {why}"))?;
            }
            screen.raw(&format!("{}\n", made.worktree_path))?;
        }
        WorktreeCommand::Ls { global, quiet } => {
            let request = ListWorktrees { cwd: (!global).then(|| directory(None)).transpose()?, all: global };
            let listed = daemon.client().await?.list_worktrees(request).await?.worktrees;
            if json {
                screen.json(&listed)?;
            } else if quiet {
                screen.raw(&listed.iter().map(|listed| format!("{}\n", listed.worktree_path)).collect::<String>())?;
            } else if listed.is_empty() {
                screen.note("no worktrees; `paseo worktree create <branch>` makes one")?;
            } else {
                screen.raw(&render::worktrees(&screen.out, &listed))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// `paseo provider`.
pub(crate) async fn provider(
    command: ProviderCommand,
    daemon: &Daemon,
    screen: &Screen,
    json: bool,
) -> Result<Exit, Failure> {
    let client = daemon.client().await?;
    match command {
        ProviderCommand::Ls { quiet } => {
            let providers = client.list_providers(ListProviders {}).await?.providers;
            match (json, quiet) {
                (true, _) => screen.json(&providers)?,
                (false, true) => screen.raw(&names(providers.iter().map(|provider| provider.name.as_str())))?,
                (false, false) => screen.raw(&render::providers(&screen.out, &providers))?,
            }
        }
        ProviderCommand::Models { provider, quiet } => {
            let models = client.list_models(ListModels { provider }).await?.models;
            match (json, quiet) {
                (true, _) => screen.json(&models)?,
                (false, true) => screen.raw(&names(models.iter().map(|model| model.model.as_str())))?,
                (false, false) => screen.raw(&render::models(&screen.out, &models))?,
            }
        }
    }
    Ok(Exit::Done)
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("{}\n", clean(name))).collect()
}

/// Returns a directory that was named here as the daemon has to know it.
pub(crate) fn directory(given: Option<&Path>) -> Result<String, Failure> {
    let path = match given {
        Some(path) => std::path::absolute(path)?,
        None => std::env::current_dir()?,
    };
    path.into_os_string().into_string().map_err(|path| {
        Failure::usage(format!("the path {} is not valid UTF-8", path.display()), "rename the directory")
    })
}
