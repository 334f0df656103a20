//! Making a worktree: what a request means is found and fetched, and then made; and taking back what was just made.

use std::path::{Path, PathBuf};

use paseo_sdk::catalogue::{CreateWorktree, WorktreeSource};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{self, Answer, Base, Head, Input, Want};
use paseo_sdk::model::{PullRequest, Worktree};

use super::partial::Need;
use super::site::Site;
use super::{Place, Worktrees, answer, blocking, fetch, source, trust, unexpected};

impl Worktrees {
    /// Makes a worktree of the repository of `cwd`, or returns the one that is there. Whoever drops the future before
    /// the tree is there leaves nothing behind; a setup goes on by itself.
    ///
    /// # Errors
    ///
    /// What is wrong with the request, what is in its way, or what failed; nothing of it is left then.
    pub async fn create(&self, request: &CreateWorktree, cwd: &Path) -> Result<Worktree, ApiError> {
        request.source()?;
        request.worktree_slug.as_deref().map_or(Ok(()), worktree::check_slug)?;
        let site = self.site(cwd).await?;
        let (head, base) = self.resolve(request, &site, cwd).await?;
        let base = self.complete_for(&site, &head, base).await?;
        let trusted = request.trust || self.comes_trusted(&site, &head, base.as_ref().ok()).await?;
        let port = self.port(None).await?;
        let want = Want {
            head,
            asked: request.base_branch.clone(),
            base,
            slug: request.worktree_slug.clone(),
            trusted,
            port: port.as_ref().map(|port| port.number),
        };
        let (note, created) = match self.ask(&site, |ticket| Input::Create { ticket, want }).await? {
            Answer::Created(note) => (note, true),
            Answer::Found(note) => (note, false),
            Answer::Failed(error) => return Err(error),
            other => return Err(unexpected(&other)),
        };
        drop(port);
        let place = Place::of(site, note.slug.clone());
        let note = match note.trusted || !request.trust {
            true => note,
            false => self.make_trusted(&place).await?,
        };
        let setup = self.set_up(&place, &note, request.wait_for_setup.unwrap_or(true)).await?;
        Ok(answer(&place, note, created, setup))
    }

    /// Takes back a worktree that `create` has just made, with its branch.
    ///
    /// # Errors
    ///
    /// `refused` when it was there before, when somebody else was given it too, or when it has changed: it stays then.
    pub async fn roll_back(&self, worktree: &Worktree) -> Result<(), ApiError> {
        let kept = |why: &str| {
            ApiError::new(Code::Refused, format!("the worktree {} stays: {why}", worktree.worktree_path))
                .hint("`paseo worktree ls` shows it")
                .details(serde_json::json!({ "worktreePath": worktree.worktree_path }))
        };
        if !worktree.created {
            return Err(kept("it was there before"));
        }
        let path = PathBuf::from(&worktree.worktree_path);
        if !path.is_dir() {
            return Err(kept("its directory is gone"));
        }
        let place = Place::of(self.site(&path).await?, worktree.worktree_slug.clone());
        if place.path != path {
            return Err(kept("it is not where paseo makes them"));
        }
        self.stop_setup(&place).await;
        let slug = place.slug.clone();
        match self.ask(&place.site, |ticket| Input::RollBack { ticket, slug }).await? {
            Answer::RolledBack => Ok(()),
            Answer::Kept(why) => Err(kept(why)),
            Answer::Failed(error) => Err(error),
            other => Err(unexpected(&other)),
        }
    }

    /// Finds what a request means, and fetches what it asks to fetch.
    async fn resolve(
        &self,
        request: &CreateWorktree,
        site: &Site,
        cwd: &Path,
    ) -> Result<(Head, Result<Base, ApiError>), ApiError> {
        let (home, cwd) = (self.shared.home.clone(), cwd.to_owned());
        let here = move || Site::find(&home, &cwd).map(|(here, _)| here);
        match request.source()? {
            WorktreeSource::BranchOff { branch, base: asked } => {
                source::check_branch(&branch)?;
                let look = {
                    let (here, asked) = (here.clone(), asked.clone());
                    move || {
                        let here = here()?;
                        let base = source::find_base(&here, asked.as_deref());
                        let from = base.as_ref().ok().and_then(|base| source::comes_from(&here, base));
                        Ok((base, from, asked.and_then(|asked| source::split_remote(&here, &asked))))
                    }
                };
                let (mut base, from, named) = blocking(look.clone()).await?;
                if request.fetch {
                    self.fetch(site, from.or(named)).await?;
                    base = blocking(move || {
                        let here = here()?;
                        Ok(source::find_base(&here, asked.as_deref()).map(|base| source::newest(&here, base)))
                    })
                    .await?;
                }
                Ok((Head::New { branch }, base))
            }
            WorktreeSource::Checkout { ref_name } => {
                if request.fetch {
                    let name = ref_name.clone();
                    let here = here.clone();
                    let named = blocking(move || Ok(source::split_remote(&here()?, &name))).await?;
                    self.fetch(site, named).await?;
                }
                let (head, base) = blocking(move || source::find_head(&here()?, &ref_name)).await?;
                Ok((head, Ok(base)))
            }
            WorktreeSource::PullRequest { number } => {
                let alone = self.fetching(site).await;
                self.report("fetch", format!("fetching pull request {number}"));
                let fetched = fetch::pull_request(site, &self.shared.surroundings.env, &alone, number).await?;
                drop(alone);
                let base = blocking(move || {
                    let here = here()?;
                    // What it is to be merged into may be gone, as after a merge.
                    let base = fetched.base.as_deref().filter(|base| source::is_there(&here, base));
                    Ok(source::find_base(&here, base))
                })
                .await?;
                let pull_request = PullRequest { number, title: fetched.title };
                let (branch, commit, upstream) = (fetched.branch, fetched.commit, fetched.upstream);
                Ok((Head::PullRequest { pull_request, branch, commit, upstream }, base))
            }
        }
    }

    /// Fetches a branch of a remote; without one, what the main remote has.
    async fn fetch(&self, site: &Site, what: Option<(String, String)>) -> Result<(), ApiError> {
        let alone = self.fetching(site).await;
        let env = &self.shared.surroundings.env;
        match what {
            Some((remote, branch)) => {
                self.report("fetch", format!("fetching {branch} from {remote}"));
                fetch::fetch(site, env, &alone, &remote, Some(&branch)).await
            }
            None => {
                let place = site.clone();
                let remote = blocking(move || fetch::main_remote(&place.open()?)).await?;
                self.report("fetch", format!("fetching from {remote}"));
                fetch::fetch(site, env, &alone, &remote, None).await
            }
        }
    }

    /// Fetches what a partial clone lacks to make a worktree with this head and base; returns the base with what it asks
    /// for, which may not have been there to be read.
    async fn complete_for(
        &self,
        site: &Site,
        head: &Head,
        base: Result<Base, ApiError>,
    ) -> Result<Result<Base, ApiError>, ApiError> {
        let needs = {
            let (site, head, base) = (site.clone(), head.clone(), base.as_ref().ok().cloned());
            blocking(move || Need::of_new(&site, &head, base.as_ref())).await?
        };
        let Ok(base) = base else { return Ok(base) };
        if needs.is_empty() {
            return Ok(Ok(base));
        }
        self.complete(site, needs).await?;
        let site = site.clone();
        blocking(move || source::read_again(&site.open()?, base)).await.map(Ok)
    }

    async fn comes_trusted(&self, site: &Site, head: &Head, base: Option<&Base>) -> Result<bool, ApiError> {
        let (site, head, base) = (site.clone(), head.clone(), base.cloned());
        let trusting = self.trusting.clone();
        blocking(move || Ok(trust::comes_trusted(&site, &head, base.as_ref(), &trusting))).await
    }
}
