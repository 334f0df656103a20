//! Commands that are an operation on worktrees or providers.

use std::path::Path;

use paseo_sdk::catalogue::{
    self, CreateWorktree, ListModels, ListProviders, ListWorktrees, Models, RestoreWorktree, TrustWorktree,
    WorktreeAction,
};
use paseo_sdk::model::{ListedModel, Worktree};

use crate::command::{ArchiveWorktree, ProviderCommand, WorktreeCommand};
use crate::exit::{Exit, Failure};
use crate::render;
use crate::screen::Screen;
use crate::start::Daemon;
use crate::table::clean;
use crate::{bar, prompt};

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
            if !made.created && !json {
                screen.note("it was there already")?;
            }
            show_made(&mut screen, &made, json)?;
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
        WorktreeCommand::Archive(archive) => return put_away(archive, daemon, screen, json).await,
        WorktreeCommand::Restore { slug, cwd } => {
            let cwd = Some(directory(cwd.as_deref())?);
            let request = RestoreWorktree { worktree_slug: slug, cwd, wait_for_setup: None };
            let client = daemon.client().await?;
            let made = bar::show(&client, json, async |client| client.restore_worktree(request).await).await?;
            show_made(&mut screen, &made, json)?;
        }
        WorktreeCommand::Trust { worktree, cwd } => {
            let (worktree_path, worktree_slug, cwd) = named(worktree, cwd.as_deref())?;
            let request = TrustWorktree { worktree_path, worktree_slug, cwd, wait_for_setup: None };
            let client = daemon.client().await?;
            let trusted = bar::show(&client, json, async |client| client.trust_worktree(request).await).await?;
            show_made(&mut screen, &trusted, json)?;
        }
    }
    Ok(Exit::Done)
}

/// `paseo worktree archive`.
async fn put_away(archive: ArchiveWorktree, daemon: &Daemon, mut screen: Screen, json: bool) -> Result<Exit, Failure> {
    if !archive.yes {
        let question = format!("archive worktree {}? Ignored files in it are not kept", clean(&archive.worktree));
        prompt::confirm(&mut screen, &question)?;
    }
    let (worktree_path, worktree_slug, cwd) = named(archive.worktree, archive.cwd.as_deref())?;
    let request = catalogue::ArchiveWorktree {
        worktree_path,
        worktree_slug,
        cwd,
        force: archive.force,
        keep_branch: archive.keep_branch,
        skip_teardown: archive.skip_teardown,
    };
    let archived = daemon.client().await?.archive_worktree(request).await?;
    if json {
        screen.json(&archived)?;
        return Ok(Exit::Done);
    }
    screen.raw(&render::archived(&archived))?;
    if let Some(problem) = &archived.problem {
        screen.note(&format!("not everything could be removed yet: {}", clean(problem)))?;
    }
    Ok(Exit::Done)
}

/// Shows a worktree that is there now.
fn show_made(screen: &mut Screen, made: &Worktree, json: bool) -> Result<(), Failure> {
    if json {
        return Ok(screen.json(made)?);
    }
    if let Some(note) = render::setup(&made.setup) {
        screen.note(&note)?;
    }
    Ok(screen.raw(&format!("{}\n", made.worktree_path))?)
}

/// Reads a worktree's name or path as a request has them: path, slug, and a directory of its repository.
type Named = (Option<String>, Option<String>, Option<String>);

fn named(worktree: String, cwd: Option<&Path>) -> Result<Named, Failure> {
    match worktree.contains(std::path::MAIN_SEPARATOR) || worktree.starts_with('.') {
        true => Ok((Some(directory(Some(Path::new(&worktree)))?), None, None)),
        false => Ok((None, Some(worktree), Some(directory(cwd)?))),
    }
}

/// `paseo provider`.
pub(crate) async fn provider(
    command: ProviderCommand,
    daemon: &Daemon,
    mut screen: Screen,
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
            let all = provider.is_none();
            let Models { models, providers } = client.list_models(ListModels { provider }).await?;
            let name = |model: &ListedModel| match all {
                true => format!("{}/{}", model.provider, model.model),
                false => model.model.clone(),
            };
            match (json, quiet) {
                (true, _) => screen.json(&models)?,
                (false, true) => {
                    let all: Vec<_> = models.iter().map(name).collect();
                    screen.raw(&names(all.iter().map(String::as_str)))?;
                }
                (false, false) if all => screen.raw(&render::all_models(&screen.out, &models))?,
                (false, false) => screen.raw(&render::models(&screen.out, &models))?,
            }
            for source in providers.iter().filter(|_| !json) {
                if let Some(reason) = &source.reason {
                    screen.note(&format!("{}: {}", source.provider, reason))?;
                }
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
