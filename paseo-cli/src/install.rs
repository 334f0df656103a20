//! `paseo install-cli`: this program where shells find it, shown first, and done only when told.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use paseo_sdk::{ApiError, Code};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::prompt;
use crate::render::View;
use crate::screen::Screen;

/// Shows what has to be done, and does it when it is told.
pub(crate) fn install(yes: bool, force: bool, mut screen: Screen, json: bool) -> Result<Exit, Failure> {
    let place = Place::look()?;
    let steps = place.steps(force)?;
    let asks = !steps.is_empty() && !yes;
    match json {
        false => screen.raw(&lines(&steps, &screen.out))?,
        true if asks && screen.interactive => screen.note(&lines(&steps, &screen.notes))?,
        true if asks => screen.json(&Report { steps: &steps, done: false })?,
        true => {}
    }
    if asks {
        prompt::confirm(&mut screen, "change these files?")?;
    }
    for step in &steps {
        step.carry_out().map_err(|error| {
            let message = format!("cannot {}: {error}", step.describe(&screen.out));
            ApiError::new(Code::Internal, message)
                .hint("what was shown before that is done; run it again when this can be")
        })?;
    }
    if json {
        screen.json(&Report { steps: &steps, done: true })?;
    }
    screen.note(&place.outcome(&steps, &screen.out))?;
    Ok(Exit::Done)
}

/// What programs are told.
#[derive(Serialize)]
struct Report<'a> {
    steps: &'a [Step],
    done: bool,
}

fn lines(steps: &[Step], view: &View) -> String {
    steps.iter().map(|step| step.describe(view) + "\n").collect()
}

/// What there is before anything is done.
struct Place {
    /// This program.
    program: PathBuf,
    home: PathBuf,
    /// The directories on the `PATH`.
    path: Vec<PathBuf>,
    /// Shells that are used here, each with the file that it reads.
    shells: Vec<(Shell, PathBuf)>,
}

impl Place {
    fn look() -> Result<Place, Failure> {
        let program = std::env::current_exe()?;
        if !program.is_file() {
            let message = format!("this program is gone: {}", program.display());
            return Err(ApiError::new(Code::NotFound, message).hint("start it again from where it is now").into());
        }
        let home = std::env::home_dir()
            .filter(|home| home.is_absolute())
            .ok_or_else(|| Failure::usage("your home directory is not known", "set HOME"))?;
        let path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        let own = std::env::var_os("SHELL").map(PathBuf::from);
        let own = own.as_deref().and_then(Path::file_name);
        let shells = [Shell::Bash, Shell::Zsh, Shell::Fish].map(|shell| (shell, shell.file(&home)));
        let used = |(shell, file): &(Shell, PathBuf)| own == Some(OsStr::new(shell.name())) || shell.is_used(file);
        Ok(Place { program, home, path, shells: shells.into_iter().filter(used).collect() })
    }

    fn link(&self) -> PathBuf {
        self.directory().join("paseo")
    }

    fn directory(&self) -> PathBuf {
        self.home.join(".local/bin")
    }

    fn steps(&self, force: bool) -> Result<Vec<Step>, Failure> {
        let mut steps = Vec::new();
        let (path, target) = (self.link(), self.program.clone());
        match (self.other()?, force) {
            (None, _) if same(&path, &target) => {}
            (None, _) => steps.push(Step::Link { path, target }),
            (Some(what), false) => {
                let message = format!("{} is {what}", path.display());
                let hint = "`paseo install-cli --force` puts it aside as paseo.old";
                return Err(ApiError::new(Code::Refused, message).hint(hint).into());
            }
            (Some(what), true) => {
                let old = path.with_extension("old");
                if old.symlink_metadata().is_ok() || path.is_dir() {
                    let in_the_way = if path.is_dir() { &path } else { &old };
                    let message = format!("{} is in the way, and stays", in_the_way.display());
                    return Err(ApiError::new(Code::Refused, message).hint("move it away").into());
                }
                steps.push(Step::Replace { path, target, what, old });
            }
        }
        if !self.on_path() {
            let missing = self.shells.iter().filter(|(_, file)| !sets_path(file));
            steps.extend(missing.map(|(shell, file)| Step::Line { path: file.clone(), line: shell.line() }));
        }
        Ok(steps)
    }

    /// Says what is there in place of a link to this program.
    fn other(&self) -> Result<Option<String>, Failure> {
        let link = self.link();
        let metadata = match link.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata?,
        };
        if same(&link, &self.program) {
            return Ok(None);
        }
        Ok(Some(match fs::read_link(&link) {
            Ok(target) => format!("a link to {}", target.display()),
            Err(_) if metadata.is_dir() => "a directory".to_owned(),
            Err(_) => "another program".to_owned(),
        }))
    }

    fn on_path(&self) -> bool {
        let directory = self.directory();
        self.path.iter().any(|on_path| *on_path == directory || same(on_path, &directory))
    }

    /// Says what a person has now.
    fn outcome(&self, steps: &[Step], view: &View) -> String {
        let link = view.path(&self.link().display().to_string());
        let done = if steps.is_empty() { format!("nothing to do: {link} is this program") } else { "done".to_owned() };
        if !self.on_path() {
            return match self.shells.is_empty() {
                true => format!(
                    "{done}; put {} on the PATH of your shell",
                    view.path(&self.directory().display().to_string())
                ),
                false => format!("{done}; shells that are opened from now on find `paseo`"),
            };
        }
        let before = self.path.iter().take_while(|on_path| !same(on_path, &self.directory()));
        let first =
            before.map(|on_path| on_path.join("paseo")).find(|first| first.is_file() && !same(first, &self.program));
        match first {
            Some(first) => format!("{done}; {} comes before it on your PATH", view.path(&first.display().to_string())),
            None => done,
        }
    }
}

/// One change of a file.
#[derive(Serialize)]
#[serde(tag = "action", rename_all = "camelCase")]
enum Step {
    /// A link where nothing is.
    Link { path: PathBuf, target: PathBuf },
    /// A link where something else is, which is kept.
    Replace {
        path: PathBuf,
        target: PathBuf,
        #[serde(skip)]
        what: String,
        old: PathBuf,
    },
    /// A line at the end of what a shell reads.
    Line { path: PathBuf, line: &'static str },
}

impl Step {
    fn describe(&self, view: &View) -> String {
        let shown = |path: &Path| view.path(&path.display().to_string());
        match self {
            Step::Link { path, target } => format!("link {} to {}", shown(path), shown(target)),
            Step::Replace { path, target, what, old } => {
                let old = shown(old);
                format!("link {} to {}, and keep what is there, {what}, as {old}", shown(path), shown(target))
            }
            Step::Line { path, line } => format!("add to {}: {line}", shown(path)),
        }
    }

    fn carry_out(&self) -> io::Result<()> {
        match self {
            Step::Link { path, target } => {
                fs::create_dir_all(path.parent().unwrap_or(path))?;
                symlink(target, path)
            }
            Step::Replace { path, target, old, .. } => {
                // A link fails where something is already, and a rename does not leave a moment without `paseo`.
                let (here, flags) = (rustix::fs::CWD, rustix::fs::AtFlags::empty());
                rustix::fs::linkat(here, path, here, old, flags)?;
                let new = path.with_extension("new");
                symlink(target, &new)?;
                fs::rename(new, path)
            }
            Step::Line { path, line } => {
                fs::create_dir_all(path.parent().unwrap_or(path))?;
                let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
                let mut text = Vec::new();
                file.read_to_end(&mut text)?;
                let end = if text.last().is_none_or(|last| *last == b'\n') { "" } else { "\n" };
                file.write_all(format!("{end}{line}\n").as_bytes())
            }
        }
    }
}

/// A shell whose `PATH` we know how to set.
#[derive(Clone, Copy)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
        }
    }

    /// The file that it reads when somebody opens it.
    fn file(self, home: &Path) -> PathBuf {
        let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        match self {
            Shell::Bash => home.join(".bashrc"),
            Shell::Zsh => set("ZDOTDIR").unwrap_or_else(|| home.to_owned()).join(".zshrc"),
            Shell::Fish => {
                set("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join("fish/conf.d/paseo.fish")
            }
        }
    }

    fn is_used(self, file: &Path) -> bool {
        match self {
            Shell::Bash | Shell::Zsh => file.is_file(),
            // The file is ours; its directory's parent is fish's.
            Shell::Fish => file.ancestors().nth(2).is_some_and(Path::is_dir),
        }
    }

    fn line(self) -> &'static str {
        match self {
            Shell::Bash | Shell::Zsh => r#"export PATH="$HOME/.local/bin:$PATH" # paseo install-cli"#,
            Shell::Fish => r#"contains -- "$HOME/.local/bin" $PATH; or set -gx PATH "$HOME/.local/bin" $PATH"#,
        }
    }
}

/// Whether what a shell reads puts the directory on the `PATH`, as this command or a person wrote it.
fn sets_path(file: &Path) -> bool {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    lines.any(|line| line.contains(".local/bin") && line.to_ascii_lowercase().contains("path"))
}

/// Whether two paths lead to the same file.
fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
