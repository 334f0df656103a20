//! The worktrees of a repository as they are on disk, read from git each time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use gix::worktree::IndexPersistedOrInMemory;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::Note;
use paseo_sdk::model::{ListedWorktree, Setup};

use super::Place;
use super::files::names;
use super::hooks;
use super::note::{read_marks, read_note};
use super::partial;
use super::site::{Site, discover, find_reference, internal, real, said};
use super::tree::{Registered, git_dir_of, head_branch, registered};

/// Lists the worktrees of one repository, by path. One that cannot be read says why and hides no other.
pub(super) fn list(site: &Site) -> Result<Vec<ListedWorktree>, ApiError> {
    let repository = site.open()?;
    let marks: BTreeSet<_> = read_marks(&site.directory)?.into_iter().map(|mark| site.tree(&mark.note.slug)).collect();
    let mut trees: Vec<_> = registered(&repository)?.into_iter().map(|tree| (read_note(&tree.git_dir), tree)).collect();
    // It is being made or removed, or that was cut short: not there yet, or no longer.
    trees.retain(|(note, tree)| !(matches!(note, Ok(None)) && marks.contains(&tree.path)));
    trees.sort_by(|(_, a), (_, b)| a.path.cmp(&b.path));
    Ok(describe_all(site, repository, &trees))
}

/// Describes worktrees, in their order: as many at once as there are cores, each by one thread. The files of one tree are
/// compared no faster by several threads than those of several trees by one each.
fn describe_all(site: &Site, repository: gix::Repository, trees: &[Noted]) -> Vec<ListedWorktree> {
    let (shared, distances, next) = (repository.into_sync(), Distances::default(), AtomicUsize::new(0));
    let describe_some = || {
        let mut repository = shared.to_thread_local();
        repository.object_cache_size_if_unset(OBJECT_CACHE);
        let reader = Reader { site, repository, distances: &distances };
        let next = || trees.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(next).map(|(note, tree)| reader.describe(tree, note)).collect::<Vec<_>>()
    };
    let helpers = std::thread::available_parallelism().map_or(1, NonZero::get).min(trees.len()).saturating_sub(1);
    let mut listed = std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, describe_some);
        // Without a helper it takes longer, and that is all.
        let helpers: Vec<_> = (0..helpers).map_while(|number| start(number).ok()).collect();
        let mut listed = describe_some();
        for helper in helpers {
            listed.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        listed
    });
    listed.sort_by(|a, b| a.worktree_path.cmp(&b.worktree_path));
    listed
}

/// A worktree, and what is noted of it.
type Noted = (Result<Option<Note>, ApiError>, Registered);

/// How many commits each of two commits has that the other has not: trees that were made together share both.
type Distances = Mutex<BTreeMap<(gix::ObjectId, gix::ObjectId), (i64, i64)>>;

/// Whether a worktree has uncommitted or untracked files; ignored ones do not count.
pub(super) fn is_dirty(repository: &gix::Repository) -> gix::Result<bool> {
    differs(repository, None)
}

/// Says whether head, index and files differ; `threads` is how many may compare files, at most.
fn differs(repository: &gix::Repository, threads: Option<usize>) -> gix::Result<bool> {
    use gix::status::{Submodule, UntrackedFiles};
    let index = repository.index_or_empty()?;
    if is_staged(repository, &index)? {
        return Ok(true);
    }
    // `status.showUntrackedFiles = no` is about what a person sees, not about what would be lost.
    let walk = repository.dirwalk_options()?;
    let items = repository
        .status(gix::progress::Discard)?
        .index(IndexPersistedOrInMemory::Persisted(index))
        .index_worktree_options_mut(|options| {
            options.dirwalk_options = Some(walk);
            options.thread_limit = threads;
        })
        .untracked_files(UntrackedFiles::Collapsed)
        .index_worktree_rewrites(None)
        .index_worktree_submodules(Submodule::AsConfigured { check_dirty: true })
        .into_index_worktree_iter(None)?;
    for item in items {
        // Where there is no summary, only its time in the index is out of date.
        if item?.summary().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Says whether the index has something else than the head. This comes first, since it reads no file of the tree.
fn is_staged(repository: &gix::Repository, index: &gix::index::State) -> gix::Result<bool> {
    use gix::status::tree_index::TrackRenames;
    let head = repository.head_tree_id_or_empty()?.detach();
    // What git notes in an index of the trees that it stands for is struck out there when an entry changes.
    if index.tree().is_some_and(|tree| tree.id == head && tree.num_entries.is_some()) {
        return Ok(false);
    }
    let mut staged = false;
    // Without one of its own, it would look only at what is below the directory of this process.
    let attributes = gix::worktree::stack::state::attributes::Source::IdMapping;
    let mut everything = repository.pathspec(false, None::<&str>, false, index, attributes)?;
    repository.tree_index_status(&head, index, Some(&mut everything), TrackRenames::Disabled, |_, _, _| {
        staged = true;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(staged)
}

/// Finds every repository in which paseo made a worktree, and the trees whose repository is gone.
pub(super) fn everywhere(home: &Path) -> Result<(Vec<Site>, Vec<ListedWorktree>), ApiError> {
    let mut sites = BTreeMap::new();
    let mut lost = Vec::new();
    let root = real(home).join("worktrees");
    for directory in names(&root)? {
        let directory = root.join(directory);
        // Of what another daemon was in the middle of, there may be nothing else.
        let marked = read_marks(&directory).unwrap_or_default().into_iter().filter_map(|mark| mark.repository);
        let marked = marked.filter_map(|common_dir| Site::of(home, &discover(&common_dir).ok()?).ok());
        sites.extend(marked.map(|site| (site.common_dir.clone(), site)));
        for slug in names(&directory).unwrap_or_default().into_iter().filter(|name| !name.starts_with('.')) {
            let path = directory.join(&slug);
            if !path.join(".git").exists() {
                continue;
            }
            let found = discover(&path).map_err(|error| internal("its repository cannot be opened", &error));
            match found.and_then(|repository| Site::of(home, &repository)) {
                Ok(site) => drop(sites.insert(site.common_dir.clone(), site)),
                Err(error) => lost.push(orphan(&path, slug, error)),
            }
        }
    }
    Ok((sites.into_values().collect(), lost))
}

/// Reads the worktrees of a repository that paseo made.
pub(super) fn ours(site: &Site) -> Result<Vec<(String, Note)>, ApiError> {
    let all = registered(&site.open()?)?;
    let ours = all.into_iter().filter(|tree| tree.path.parent() == Some(&site.directory) && tree.path.is_dir());
    let noted = ours.filter_map(|tree| {
        let slug = tree.path.file_name()?.to_str()?.to_owned();
        Some((slug, read_note(&tree.git_dir).ok().flatten()?))
    });
    Ok(noted.collect())
}

/// Finds the only repository with a worktree of this name.
pub(super) fn only_site_with(home: &Path, slug: &str) -> Result<Site, ApiError> {
    let root = real(home).join("worktrees");
    let mut found = Vec::new();
    for directory in names(&root)? {
        let tree = root.join(directory).join(slug);
        if tree.join(".git").exists()
            && let Ok(repository) = discover(&tree)
        {
            found.push(Site::of(home, &repository)?);
        }
    }
    let details = |found: &[Site]| {
        let repositories: Vec<_> = found.iter().map(|site| site.main.display().to_string()).collect();
        serde_json::json!({ "field": "worktreeSlug", "repositories": repositories })
    };
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(ApiError::new(Code::NotFound, format!("there is no worktree `{slug}`"))
            .hint("`paseo worktree ls -g` lists those of all repositories")
            .details(details(&found))),
        _ => Err(ApiError::new(Code::Conflict, format!("several repositories have a worktree `{slug}`"))
            .hint("give `cwd`, or `worktreePath`")
            .details(details(&found))),
    }
}

/// What a directory is within.
pub(super) enum Around {
    /// Nothing that paseo made.
    Nothing,
    /// A worktree that paseo made, wherever it lies by now.
    Ours(Box<Place>, Box<Note>),
    /// Something that cannot be read.
    Unclear(String),
}

impl Around {
    pub(super) fn is_trusted(&self) -> bool {
        match self {
            Around::Nothing => true,
            Around::Ours(_, note) => note.trusted,
            Around::Unclear(_) => false,
        }
    }
}

/// Finds the worktree that paseo made around a directory. Where one is within another, it is trusted if both are.
pub(super) fn around(home: &Path, directory: &Path) -> Around {
    let directory = real(directory);
    let mut found: Option<(Place, Note)> = None;
    for tree in directory.ancestors() {
        match (made_at(home, tree), &mut found) {
            (Ok(None), _) => {}
            (Ok(Some(outer)), None) => found = Some(outer),
            (Ok(Some((_, outer))), Some((_, inner))) => inner.trusted &= outer.trusted,
            (Err(why), _) => return Around::Unclear(why),
        }
    }
    found.map_or(Around::Nothing, |(place, note)| Around::Ours(Box::new(place), Box::new(note)))
}

/// Reads the note of the worktree whose top a directory is, if paseo made one there; or says what cannot be read.
fn made_at(home: &Path, tree: &Path) -> Result<Option<(Place, Note)>, String> {
    // Whatever there is where paseo makes them has a note.
    let lost = |why: &str| match tree.parent().and_then(Path::parent) == Some(&real(home).join("worktrees")) {
        true => Err(format!("{} {why}", tree.display())),
        false => Ok(None),
    };
    let link = tree.join(".git");
    match link.metadata() {
        Ok(metadata) if metadata.is_dir() => return Ok(None),
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return lost("has no `.git`");
        }
        Err(error) => return Err(format!("cannot read {}: {error}", link.display())),
    }
    let Some(git_dir) = git_dir_of(tree) else { return Err(format!("cannot read {}", link.display())) };
    if !git_dir.is_dir() {
        return Err(format!("its git directory {} is gone", git_dir.display()));
    }
    let Some(note) = read_note(&git_dir).map_err(|error| error.message)? else { return lost("has no note of paseo's") };
    let repository = discover(tree).map_err(|error| internal("its repository cannot be opened", &error));
    let site = repository.and_then(|repository| Site::of(home, &repository)).map_err(|error| error.message)?;
    Ok(Some((Place { site, slug: note.slug.clone(), path: tree.to_owned() }, note)))
}

/// Where the parts of a repository lie that is around a directory.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// The working trees that it is in: its own, and the main checkout.
    pub(crate) trees: Vec<PathBuf>,
    /// The directories that commits in a linked worktree are written to. In the main checkout those are also what says
    /// which programs git runs, so that there are none.
    pub(crate) git_dirs: Vec<PathBuf>,
}

/// Finds the repository around a directory.
pub(super) fn layout(directory: &Path) -> Layout {
    let Ok(repository) = discover(&real(directory)) else { return Layout::default() };
    let (common, own) = (real(repository.common_dir()), real(repository.git_dir()));
    let main = repository.main_repo().ok().and_then(|main| main.workdir().map(real));
    let trees = repository.workdir().map(real).into_iter().chain(main).collect();
    let git_dirs = match own == common {
        true => Vec::new(),
        false => ["objects", "refs", "logs"].map(|name| common.join(name)).into_iter().chain([own]).collect(),
    };
    Layout { trees, git_dirs }
}

/// Returns a directory, and where it is the main checkout of a repository, or a bare one, all its worktrees as well.
pub(super) fn places(home: &Path, directory: PathBuf) -> Vec<PathBuf> {
    let real = real(&directory);
    let mut places = vec![directory, real.clone()];
    let main = discover(&real).ok().and_then(|here| here.main_repo().ok());
    let Some(main) = main.filter(|main| is(main.workdir().unwrap_or(main.git_dir()), &real)) else { return places };
    places.extend(registered(&main).unwrap_or_default().into_iter().map(|tree| tree.path));
    // Of worktrees that are gone, the agents are still known.
    places.extend(Site::of(home, &main).map(|site| site.directory));
    places
}

fn is(path: &Path, directory: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| path == directory)
}

/// Reads the worktrees of one repository, in one thread.
struct Reader<'a> {
    site: &'a Site,
    repository: gix::Repository,
    distances: &'a Distances,
}

impl Reader<'_> {
    fn describe(&self, tree: &Registered, note: &Result<Option<Note>, ApiError>) -> ListedWorktree {
        let mut problems = Vec::new();
        let note = note.as_ref().unwrap_or_else(|error| {
            problems.push(error.message.clone());
            &None
        });
        let readable = problems.is_empty();
        let note = note.as_ref();
        let mut listed = ListedWorktree {
            worktree_path: tree.path.to_string_lossy().into_owned(),
            worktree_slug: tree.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            repository: self.site.main.to_string_lossy().into_owned(),
            branch_name: head_branch(&tree.git_dir),
            head_commit: None,
            base_branch: note.map(|note| note.base.clone()),
            pull_request: note.and_then(|note| note.pull_request.clone()),
            created_at: note.map(|note| note.created_at),
            dirty: false,
            ahead: None,
            behind: None,
            setup: note.map(|note| hooks::setup(&tree.git_dir, note)).unwrap_or_default(),
            trusted: readable && note.is_none_or(|note| note.trusted),
            agents: Vec::new(),
            problem: None,
        };
        match self.open(tree) {
            Ok(linked) => {
                let head = linked.head_id().ok();
                listed.head_commit = head.map(|id| id.to_string());
                if let (Some(head), Some(note)) = (head, note) {
                    match self.distance(head.detach(), note) {
                        Ok((ahead, behind)) => (listed.ahead, listed.behind) = (Some(ahead), Some(behind)),
                        Err(error) => {
                            problems.push(format!("cannot be compared with `{}`: {}", note.base, said(&error)))
                        }
                    }
                }
                // Where it cannot be told, nobody should think that there is nothing to lose.
                listed.dirty = differs(&linked, Some(1)).unwrap_or_else(|error| {
                    problems.push(format!("its files cannot be compared: {}", said(&error)));
                    if partial::is_one(&linked) {
                        problems
                            .push("if this partial clone lacks something, `git status` there fetches it".to_owned());
                    }
                    true
                });
            }
            Err(problem) => problems.push(problem),
        }
        listed.problem = (!problems.is_empty()).then(|| problems.join("; "));
        listed
    }

    fn open(&self, tree: &Registered) -> Result<gix::Repository, String> {
        if !tree.path.is_dir() {
            return Err("its directory is gone; `git worktree prune` forgets it".to_owned());
        }
        if !tree.path.join(".git").exists() {
            return Err("its directory has no `.git` any more; `git worktree repair` may bring it back".to_owned());
        }
        let name =
            tree.git_dir.file_name().and_then(|name| gix::path::os_str_into_bstr(name).ok()).ok_or("it is gone")?;
        let proxy = self.repository.worktree_proxy_by_id(name).map_err(|error| said(&error))?;
        let mut linked = proxy.ok_or("it is gone")?.into_repo().map_err(|error| said(&error))?;
        // They share their objects, so what was read for one of them is there for the next.
        linked.objects = self.repository.objects.clone();
        Ok(linked)
    }

    /// Counts the commits that only the worktree has, and those that only its base has.
    fn distance(&self, head: gix::ObjectId, note: &Note) -> gix::Result<(i64, i64)> {
        let now = note.base_ref.as_deref().and_then(|name| find_reference(&self.repository, name).ok().flatten());
        let base = match now.map(|mut reference| reference.peel_to_commit()) {
            Some(Ok(commit)) => commit.id,
            // The branch is gone; what it was then is still known.
            _ => gix::ObjectId::from_hex(note.base_commit.as_bytes())?,
        };
        if head == base {
            return Ok((0, 0));
        }
        let known =
            |found: &Distances| found.lock().unwrap_or_else(PoisonError::into_inner).get(&(head, base)).copied();
        if let Some(found) = known(self.distances) {
            return Ok(found);
        }
        let found = (self.count(head, base)?, self.count(base, head)?);
        self.distances.lock().unwrap_or_else(PoisonError::into_inner).insert((head, base), found);
        Ok(found)
    }

    fn count(&self, from: gix::ObjectId, hidden: gix::ObjectId) -> gix::Result<i64> {
        let mut number = 0;
        for commit in self.repository.rev_walk([from]).with_hidden([hidden]).all()? {
            commit?;
            number += 1;
        }
        Ok(number)
    }
}

fn orphan(path: &Path, slug: String, error: ApiError) -> ListedWorktree {
    let git_dir = git_dir_of(path).unwrap_or_default();
    let repository = git_dir.ancestors().nth(3).unwrap_or(&git_dir);
    ListedWorktree {
        worktree_path: path.to_string_lossy().into_owned(),
        worktree_slug: slug,
        repository: repository.to_string_lossy().into_owned(),
        branch_name: None,
        head_commit: None,
        base_branch: None,
        pull_request: None,
        created_at: None,
        dirty: true,
        ahead: None,
        behind: None,
        setup: Setup::default(),
        trusted: false,
        agents: Vec::new(),
        problem: Some(error.message),
    }
}

/// How many bytes of objects each thread keeps: trees and commits are read once for all worktrees.
const OBJECT_CACHE: usize = 8 << 20;
