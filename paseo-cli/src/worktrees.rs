//! Commands that are an operation on worktrees or providers.

use std::path::Path;

use paseo_sdk::Client;
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
            let client = daemon.client().await?;
            let (worktree_path, worktree_slug, cwd) = named(&client, worktree, cwd.as_deref()).await?;
            let request = TrustWorktree { worktree_path, worktree_slug, cwd, wait_for_setup: None };
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
    let client = daemon.client().await?;
    let (worktree_path, worktree_slug, cwd) = named(&client, archive.worktree, archive.cwd.as_deref()).await?;
    let request = catalogue::ArchiveWorktree {
        worktree_path,
        worktree_slug,
        cwd,
        force: archive.force,
        keep_branch: archive.keep_branch,
        skip_teardown: archive.skip_teardown,
    };
    let archived = client.archive_worktree(request).await?;
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

/// A worktree as a request names it: path, slug, and a directory of its repository.
type Named = (Option<String>, Option<String>, Option<String>);

/// Reads a worktree's directory name, its branch or its path.
async fn named(client: &Client, worktree: String, cwd: Option<&Path>) -> Result<Named, Failure> {
    // Where no repository is, the name alone must do.
    let cwd = match cwd {
        None if !is_in_repository(&std::env::current_dir()?) => None,
        cwd => Some(directory(cwd)?),
    };
    let path = Path::new(&worktree);
    if worktree.starts_with(['.', std::path::MAIN_SEPARATOR]) {
        return Ok((Some(directory(Some(path))?), None, None));
    }
    if !worktree.contains(std::path::MAIN_SEPARATOR) {
        return Ok((None, Some(worktree), cwd));
    }
    let list = ListWorktrees { all: cwd.is_none(), cwd };
    let listed = client.list_worktrees(list).await?.worktrees;
    let mut on_it = listed.into_iter().filter(|tree| tree.branch_name.as_ref() == Some(&worktree));
    match (on_it.next(), on_it.next()) {
        (Some(only), None) => Ok((Some(only.worktree_path), None, None)),
        (Some(_), Some(_)) => Err(Failure::usage(
            format!("several repositories have a worktree on branch {}", clean(&worktree)),
            "give `--cwd`, or its path: `paseo worktree ls -g` lists them",
        )),
        (None, _) => Ok((Some(directory(Some(path))?), None, None)),
    }
}

/// Whether git would find a repository around a directory.
fn is_in_repository(directory: &Path) -> bool {
    let bare = |at: &Path| at.join("HEAD").is_file() && at.join("objects").is_dir() && at.join("refs").is_dir();
    directory.ancestors().any(|at| at.join(".git").exists() || bare(at))
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
