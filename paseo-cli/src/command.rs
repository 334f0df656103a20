//! The tree of commands: what can be typed, and what its help says.

mod schedule;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use paseo_sdk::item::Kind;
use paseo_sdk::model::{AgentRef, Duration, Mode, Status};

pub use self::schedule::{CreateSchedule, ScheduleCommand, UpdateSchedule};

/// Hands work to AI coding agents, watches them, waits for them.
#[derive(Debug, Parser)]
#[command(name = "paseo", version, propagate_version = false, disable_help_subcommand = true)]
pub struct Cli {
    /// What goes with every command.
    #[command(flatten)]
    pub global: Global,
    /// The command; none shows the overview.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where the daemon is: `host:port` or `unix:/path`. Default: the socket in the home directory
    #[arg(long, global = true, env = "PASEO_HOST", hide_env_values = true, value_name = "ADDRESS")]
    pub host: Option<String>,
    /// Paseo's home directory. Default: ~/.paseo
    #[arg(long, global = true, env = "PASEO_HOME", hide_env_values = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Do not start a daemon when none runs
    #[arg(long, global = true)]
    pub no_start: bool,
    /// Print JSON for programs, errors too
    #[arg(long, global = true)]
    pub json: bool,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What concerns agents, as commands of their own.
    #[command(flatten)]
    Common(AgentCommand),
    /// The commands above as a group, and changes to an agent's title and labels
    #[command(after_help = "Example:\n  paseo agent update 3f2a --title \"login form\" --label sprint=12")]
    Agent {
        /// Which.
        #[command(subcommand)]
        command: AgentGroup,
    },
    /// See and answer what agents ask permission for
    #[command(after_help = "Example:\n  paseo permit allow 3f2a")]
    Permit {
        /// Which.
        #[command(subcommand)]
        command: PermitCommand,
    },
    /// Make and list worktrees
    #[command(after_help = "Example:\n  paseo worktree create fix/login --base main")]
    Worktree {
        /// Which.
        #[command(subcommand)]
        command: WorktreeCommand,
    },
    /// See which kinds of agents can run here
    #[command(after_help = "Example:\n  paseo provider ls")]
    Provider {
        /// Which.
        #[command(subcommand)]
        command: ProviderCommand,
    },
    /// Say something to agents again and again
    #[command(after_help = "Example:\n  paseo schedule create --every 5m \"ping main build\"")]
    Schedule {
        /// Which.
        #[command(subcommand)]
        command: ScheduleCommand,
    },
    /// Serve these operations as tools (MCP), on standard input and output
    #[command(after_help = "Example:\n  claude mcp add paseo -- paseo mcp")]
    Mcp,
    /// Start, stop and look after the daemon
    #[command(after_help = "Example:\n  paseo daemon status")]
    Daemon {
        /// Which.
        #[command(subcommand)]
        command: DaemonCommand,
    },
    /// Print a script with which your shell completes these commands
    #[command(
        after_help = "Example:\n  paseo completions bash >~/.local/share/bash-completion/completions/paseo\n  paseo completions fish >~/.config/fish/completions/paseo.fish"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Put this program where your shells find it: shows what it would change, and asks
    #[command(
        after_help = "Links ~/.local/bin/paseo to this program, and puts ~/.local/bin on the PATH of bash, zsh and fish where \
                      it is not.\n\nExample:\n  paseo install-cli"
    )]
    InstallCli {
        /// Do not ask. Default: asks in a terminal, and does nothing elsewhere
        #[arg(short, long)]
        yes: bool,
        /// Replace another `paseo` that is there, and keep it as paseo.old. Default: it is left alone
        #[arg(long)]
        force: bool,
    },
}

/// Commands on agents, there both at the top and in the group `agent`.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Hand a task to a new agent and watch it work
    #[command(after_help = "Example:\n  paseo run --provider shell --worktree fix/login \"make test\"")]
    Run(Box<Run>),
    /// Say something more to an agent and watch it answer
    #[command(after_help = "Example:\n  paseo send 3f2a \"now add a test\"")]
    Send(Send),
    /// List the agents of this repository or directory
    #[command(visible_alias = "list", after_help = "Example:\n  paseo ls -g --status running")]
    Ls(Ls),
    /// Watch an agent that works already, until it has finished
    #[command(after_help = "Example:\n  paseo attach 3f2a")]
    Attach(One),
    /// Print what an agent did
    #[command(after_help = "Example:\n  paseo logs 3f2a --since 10m --filter tool_call -f")]
    Logs(Logs),
    /// Wait until agents have finished or ask for permission
    #[command(after_help = "Example:\n  paseo wait 3f2a 9c01 --any --timeout 1h")]
    Wait(Wait),
    /// End an agent's turn and everything it started
    #[command(after_help = "Example:\n  paseo stop 3f2a")]
    Stop(One),
    /// Take an agent off the list; its history stays
    #[command(after_help = "Example:\n  paseo archive 3f2a")]
    Archive(One),
    /// Delete an agent with its history
    #[command(after_help = "Example:\n  paseo delete 3f2a --yes")]
    Delete(Delete),
    /// Show everything about an agent
    #[command(after_help = "Example:\n  paseo inspect 3f2a")]
    Inspect(One),
}

/// The group `agent`.
#[derive(Debug, Subcommand)]
pub enum AgentGroup {
    /// What is there at the top too.
    #[command(flatten)]
    Common(AgentCommand),
    /// Change what people call an agent, its labels, or its model
    #[command(after_help = "Example:\n  paseo agent update 3f2a --title \"login form\" --label sprint=12")]
    Update(Update),
    /// Change how freely an agent may act: at once where its program can, else from its next turn on
    #[command(after_help = "Example:\n  paseo agent mode 3f2a auto")]
    Mode {
        /// The agent: its id, the beginning of its id, or its title
        #[arg(value_name = "AGENT", value_parser = agent_ref)]
        agent: AgentRef,
        /// plan, default, auto, full-access, or a provider's own as `provider:name`
        mode: Mode,
    },
}

/// A command on one agent.
#[derive(Args, Debug)]
pub struct One {
    /// The agent: its id, the beginning of its id, or its title
    #[arg(value_name = "AGENT", value_parser = agent_ref)]
    pub agent: AgentRef,
}

/// `paseo run`.
#[derive(Args, Debug)]
pub struct Run {
    /// The task; for `shell` a script. `-`, or nothing when input is piped in, reads it from there
    pub prompt: Option<String>,
    /// Which agent: `provider` or `provider/model`
    #[arg(long, value_name = "P/M", default_value = "claude/sonnet")]
    pub provider: String,
    /// How freely it may act: plan, default, auto, full-access, or a provider's own as `provider:name`. Default: what the
    /// provider's settings say, else `default`; for an agent's child that of its parent
    #[arg(long)]
    pub mode: Option<Mode>,
    /// Make a worktree with a new branch of this name, and work there
    #[arg(long, value_name = "BRANCH", conflicts_with = "pr")]
    pub worktree: Option<String>,
    /// What the new branch starts from. Default: the repository's main branch
    #[arg(long, value_name = "BRANCH", requires = "worktree")]
    pub base: Option<String>,
    /// Make a worktree of this pull request, and work there
    #[arg(long, value_name = "NUMBER")]
    pub pr: Option<i64>,
    /// The directory to work in. Default: this one
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Return as soon as the task is accepted, and print the agent's id
    #[arg(short = 'd', long)]
    pub background: bool,
    /// What to call the agent. Default: the first line of the task
    #[arg(long)]
    pub title: Option<String>,
    /// A picture that goes with the task; may be repeated
    #[arg(long = "image", value_name = "FILE")]
    pub images: Vec<PathBuf>,
    /// A label for finding the agent again; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// A variable for the agent's environment, with this shell's value when none is given; may be repeated
    #[arg(long = "env", value_name = "NAME[=VALUE]", value_parser = variable)]
    pub env: Vec<Variable>,
    /// How much to think, in the provider's own words, such as low or high. Default: the provider's
    #[arg(long, value_name = "HOW")]
    pub thinking: Option<String>,
    /// Let the agent's program take the task for more than text: `/` for a command, `@path` for a file
    #[arg(long)]
    pub raw: bool,
    /// Start the agent without the tools of paseo, with which it could start others
    #[arg(long)]
    pub no_tools: bool,
    /// How long to wait at most, such as 90s or 1h; the agent goes on. Default: however long it takes
    #[arg(long, value_name = "DURATION", conflicts_with = "background")]
    pub timeout: Option<Duration>,
    /// Tell the calling agent when this one finishes, fails or needs permission
    #[arg(long)]
    pub notify: bool,
}

/// `paseo send`.
#[derive(Args, Debug)]
pub struct Send {
    /// The agent: its id, the beginning of its id, or its title
    #[arg(value_name = "AGENT", value_parser = agent_ref)]
    pub agent: AgentRef,
    /// What to say; for `shell` a script. `-`, or nothing when input is piped in, reads it from there
    pub prompt: Option<String>,
    /// Return as soon as it is accepted
    #[arg(short = 'd', long)]
    pub background: bool,
    /// End the turn that runs, in place of waiting for its end
    #[arg(long, conflicts_with = "steer")]
    pub interrupt: bool,
    /// Say it into the turn that runs, where the provider can
    #[arg(long)]
    pub steer: bool,
    /// Let the agent's program take it for more than text: `/` for a command, `@path` for a file
    #[arg(long)]
    pub raw: bool,
    /// A picture that goes with it; may be repeated
    #[arg(long = "image", value_name = "FILE")]
    pub images: Vec<PathBuf>,
    /// How long to wait at most, such as 90s or 1h; the agent goes on. Default: however long it takes
    #[arg(long, value_name = "DURATION", conflicts_with = "background")]
    pub timeout: Option<Duration>,
    /// Tell the calling agent when this one finishes, fails or needs permission
    #[arg(long)]
    pub notify: bool,
}

/// `paseo ls`.
#[derive(Args, Debug)]
pub struct Ls {
    /// Archived agents too
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Agents everywhere, not only of this repository or directory
    #[arg(short = 'g', long)]
    pub global: bool,
    /// Only agents in this status; may be repeated. Default: every one but archived
    #[arg(long, value_name = "STATUS")]
    pub status: Vec<Status>,
    /// Only agents with this label; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
}

/// `paseo logs`.
#[derive(Args, Debug)]
pub struct Logs {
    /// The agent: its id, the beginning of its id, or its title
    #[arg(value_name = "AGENT", value_parser = agent_ref)]
    pub agent: AgentRef,
    /// Go on with what happens next, until interrupted
    #[arg(short, long)]
    pub follow: bool,
    /// Only the newest entries, so many. Default: all of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub tail: Option<i64>,
    /// Only entries not older than this, such as 10m. Default: from the beginning
    #[arg(long, value_name = "DURATION")]
    pub since: Option<Duration>,
    /// Only entries of this kind; may be repeated. Default: every kind
    #[arg(long = "filter", value_name = "KIND")]
    pub kinds: Vec<Kind>,
}

/// `paseo wait`.
#[derive(Args, Debug)]
pub struct Wait {
    /// The agents: ids, beginnings of ids, or titles
    #[arg(value_name = "AGENT", required = true, value_parser = agent_ref)]
    pub agents: Vec<AgentRef>,
    /// How long at most, such as 90s or 1h. Default: however long it takes
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<Duration>,
    /// Return when the first of them is there
    #[arg(long)]
    pub any: bool,
}

/// `paseo delete`.
#[derive(Args, Debug)]
pub struct Delete {
    /// The agent: its id, the beginning of its id, or its title
    #[arg(value_name = "AGENT", value_parser = agent_ref)]
    pub agent: AgentRef,
    /// Do not ask first
    #[arg(short, long)]
    pub yes: bool,
}

/// `paseo agent update`.
#[derive(Args, Debug)]
pub struct Update {
    /// The agent: its id, the beginning of its id, or its title
    #[arg(value_name = "AGENT", value_parser = agent_ref)]
    pub agent: AgentRef,
    /// A new title
    #[arg(long, required_unless_present_any = ["labels", "model"])]
    pub title: Option<String>,
    /// A label to set, or to remove when the value is empty; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// A new model, as `paseo provider models` names them
    #[arg(long)]
    pub model: Option<String>,
}

/// The group `permit`.
#[derive(Debug, Subcommand)]
pub enum PermitCommand {
    /// List what agents wait for permission to do
    #[command(visible_alias = "list", after_help = "Example:\n  paseo permit ls")]
    Ls {
        /// Print ids only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Let an agent do what it asks for, or answer its questions
    #[command(after_help = "Example:\n  paseo permit allow 3f2a\n  paseo permit allow 3f2a --answer Blue --answer 2")]
    Allow {
        /// Which request, and how.
        #[command(flatten)]
        answer: Answer,
        /// One of the options that the request offers. Default: allowed this once
        #[arg(long = "option", value_name = "OPTION", conflicts_with = "all")]
        option_id: Option<String>,
        /// The answer to a question: a choice, its number, or other words; once for each question, in order
        #[arg(long = "answer", value_name = "TEXT", conflicts_with_all = ["all", "option_id"])]
        answers: Vec<String>,
    },
    /// Refuse what an agent asks for
    #[command(after_help = "Example:\n  paseo permit deny 3f2a --message \"use the staging database\"")]
    Deny {
        /// Which request, and how.
        #[command(flatten)]
        answer: Answer,
        /// End the agent's turn as well
        #[arg(long)]
        interrupt: bool,
    },
}

/// Which request is answered, and with what words.
#[derive(Args, Debug)]
pub struct Answer {
    /// The agent: its id, the beginning of its id, or its title
    #[arg(value_name = "AGENT", value_parser = agent_ref)]
    pub agent: AgentRef,
    /// The request: its id or the beginning of it. Not needed when there is only one
    #[arg(value_name = "ID")]
    pub request: Option<String>,
    /// Every request of this agent
    #[arg(long, conflicts_with = "request")]
    pub all: bool,
    /// What to tell the agent
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
}

/// The group `worktree`.
#[derive(Debug, Subcommand)]
pub enum WorktreeCommand {
    /// Make a worktree with a new branch, and print where it is
    #[command(after_help = "Example:\n  paseo worktree create fix/login --base main")]
    Create(CreateWorktree),
    /// List the worktrees of this repository
    #[command(visible_alias = "list", after_help = "Example:\n  paseo worktree ls")]
    Ls {
        /// Those of every repository in which paseo made one
        #[arg(short = 'g', long)]
        global: bool,
        /// Print paths only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Put a worktree away, with its branch; `restore` brings it back. Ignored files are not kept
    #[command(after_help = "Example:\n  paseo worktree archive fix-login --yes")]
    Archive(ArchiveWorktree),
    /// Bring back a worktree that was archived
    #[command(after_help = "Example:\n  paseo worktree restore fix-login")]
    Restore {
        /// The name of its directory
        slug: String,
        /// A directory of the repository. Default: this one
        #[arg(long, value_name = "DIR")]
        cwd: Option<PathBuf>,
    },
    /// Trust the worktree of a pull request: run its setup, and let agents there use its settings
    #[command(after_help = "Example:\n  paseo worktree trust pr-503")]
    Trust {
        /// The name of its directory, its branch, or its path
        worktree: String,
        /// A directory of the repository. Default: this one
        #[arg(long, value_name = "DIR")]
        cwd: Option<PathBuf>,
    },
}

/// `paseo worktree archive`.
#[derive(Args, Debug)]
pub struct ArchiveWorktree {
    /// The name of its directory, its branch, or its path
    pub worktree: String,
    /// Keep uncommitted and untracked files with it, and end the agents that work in it
    #[arg(long)]
    pub force: bool,
    /// Leave its branch where it is
    #[arg(long)]
    pub keep_branch: bool,
    /// Do not run the repository's teardown
    #[arg(long)]
    pub skip_teardown: bool,
    /// A directory of the repository. Default: this one
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `paseo worktree create`.
#[derive(Args, Debug)]
pub struct CreateWorktree {
    /// The name of the new branch
    #[arg(required_unless_present_any = ["checkout", "pr"], conflicts_with_all = ["checkout", "pr"])]
    pub branch: Option<String>,
    /// What the new branch starts from. Default: the repository's main branch
    #[arg(long, value_name = "BRANCH", requires = "branch")]
    pub base: Option<String>,
    /// An existing branch, tag or commit, in place of a new branch
    #[arg(long, value_name = "REF", conflicts_with = "pr")]
    pub checkout: Option<String>,
    /// A pull request, in place of a new branch
    #[arg(long, value_name = "NUMBER")]
    pub pr: Option<i64>,
    /// A directory of the repository. Default: this one
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// The name of the worktree's directory. Default: made from the branch's name
    #[arg(long)]
    pub slug: Option<String>,
    /// Fetch the base first
    #[arg(long)]
    pub fetch: bool,
    /// Trust a pull request: run its hooks and settings
    #[arg(long)]
    pub trust: bool,
}

/// The group `provider`.
#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// List the kinds of agents, and which of them are ready
    #[command(visible_alias = "list", after_help = "Example:\n  paseo provider ls")]
    Ls {
        /// Print names only
        #[arg(short, long)]
        quiet: bool,
    },
    /// List the models of a provider, or of all of them, as their programs name them
    #[command(after_help = "Example:\n  paseo provider models claude")]
    Models {
        /// The provider, such as claude; without one, all that have models
        provider: Option<String>,
        /// Print names only; without a provider, as `--provider` takes them
        #[arg(short, long)]
        quiet: bool,
    },
}

/// The group `daemon`.
#[derive(Debug, Subcommand)]
pub enum DaemonCommand {
    /// Start the daemon, and return when it answers
    #[command(after_help = "Example:\n  paseo daemon start")]
    Start {
        /// Where it listens beside its socket: `host:port`, a port, or `unix:/path`. Default: `listen`
        /// in its settings, else 127.0.0.1:6767
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },
    /// Stop the daemon; agents go on without it
    #[command(after_help = "Example:\n  paseo daemon stop")]
    Stop {
        /// Interrupt the agents and end their processes first
        #[arg(long)]
        with_agents: bool,
        /// Do not ask before agents are interrupted
        #[arg(short, long)]
        yes: bool,
    },
    /// Start the daemon again, with the program that is installed now, if that runs; agents go on
    #[command(after_help = "Example:\n  paseo daemon restart")]
    Restart,
    /// Show the daemon; exits with 0 only when it answers
    #[command(after_help = "Example:\n  paseo daemon status")]
    Status,
    /// Be the daemon, in the foreground
    #[command(after_help = "Example:\n  paseo daemon run --listen 127.0.0.1:6767")]
    Run {
        /// Where to listen beside the socket: `host:port`, a port, or `unix:/path`. Default: `listen` in its settings,
        /// else 127.0.0.1:6767
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
        /// Leave the terminal's session first; so `daemon start` starts it.
        #[arg(long, hide = true)]
        detached: bool,
    },
    /// Print the daemon's log
    #[command(after_help = "Example:\n  paseo daemon logs -f --tail 50")]
    Logs {
        /// Go on with what is added, until interrupted
        #[arg(short, long)]
        follow: bool,
        /// Only the last lines, so many. Default: all of them
        #[arg(long, value_name = "N")]
        tail: Option<usize>,
    },
    /// Print the token that programs need over TCP
    #[command(
        after_help = "Example:\n  curl -H \"Authorization: Bearer $(paseo daemon token)\" \\\n    -d '{}' http://127.0.0.1:6767/api/list_agents"
    )]
    Token,
}

/// A variable for an agent's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value; none for the one that it has here.
    pub value: Option<String>,
}

fn agent_ref(text: &str) -> Result<AgentRef, String> {
    match text.trim().is_empty() {
        true => Err("it is empty: `paseo ls` lists agents".to_owned()),
        false => Ok(AgentRef(text.to_owned())),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as key=value".to_owned()),
    }
}

fn variable(text: &str) -> Result<Variable, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    match name.is_empty() || name.contains('\0') {
        true => Err("write it as NAME=value, or NAME for the value it has here".to_owned()),
        false => Ok(Variable { name: name.to_owned(), value }),
    }
}
