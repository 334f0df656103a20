//! The command line of paseo: a few commands that are operations as they are, and some sugar on top of the client.

pub mod asking;
pub mod bar;
pub mod command;
pub mod diff;
pub mod entry;
pub mod exit;
pub mod permission;
pub mod question;
pub mod render;
pub mod screen;
pub mod table;
pub mod transcript;

#[doc(no_inline)]
pub use clap;

mod agents;
mod daemon;
mod install;
mod logs;
mod overview;
mod place;
mod progress;
mod prompt;
mod run;
pub mod schedules;
mod start;
mod todo;
mod tool;
mod watch;
mod worktrees;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use paseo_sdk::{ApiError, Code};

use command::{AgentCommand, AgentGroup, Cli, Command};
use exit::{Exit, Failure};
use screen::Screen;
use start::Daemon;

/// Runs the command line with the arguments of this process.
pub fn main() -> ExitCode {
    paseo_daemon::helper_main();
    let cli = match tree().try_get_matches().and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    let json = cli.global.json;
    match carry_out(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => report(failure, json).into(),
    }
}

/// Returns the tree of commands, for help and for completions.
#[must_use]
pub fn tree() -> clap::Command {
    let tree = Cli::command();
    let overview = overview::render(&tree);
    tree.override_help(overview)
}

fn carry_out(cli: Cli) -> Result<Exit, Failure> {
    let screen = Screen::open();
    let Some(command) = cli.command else {
        screen.raw(&tree().render_help().to_string())?;
        return Ok(Exit::Done);
    };
    match command {
        Command::Completions { shell } => return completions(shell, &screen),
        Command::InstallCli { yes, force } => return install::install(yes, force, screen, cli.global.json),
        _ => {}
    }
    let daemon = Daemon::locate(&cli.global)?;
    if let Command::Daemon { command: command::DaemonCommand::Run { listen, detached } } = command {
        return daemon::run(&daemon, listen, detached);
    }
    if let Command::Mcp = command {
        return Ok(mcp(&daemon));
    }
    // The client lives on the worker, so that an output which nobody reads does not keep it from answering.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let result = runtime.block_on(async {
        let result = dispatch(command, &daemon, screen, cli.global.json).await;
        match result {
            // The daemon may say of something else that it is unavailable.
            Err(Failure::Refused { error, .. }) if error.code == Code::Unavailable && !daemon.answers().await => {
                Err(Failure::Refused { exit: Exit::Unreachable, error })
            }
            result => result,
        }
    });
    runtime.shutdown_background();
    result
}

/// Prints what a shell has to know of the commands.
fn completions(shell: clap_complete::Shell, screen: &Screen) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "paseo", &mut script);
    screen.raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Serves the daemon's tools, to whoever started this.
fn mcp(daemon: &Daemon) -> Exit {
    let client = daemon.connected();
    // The daemon of an agent may restart at any time; one that a person asks for may not run.
    let client = if start::inside_agent() { client.expected() } else { client };
    match paseo_daemon::bridge::mcp::serve(client) {
        0 => Exit::Done,
        // It has said why.
        _ => Exit::Error,
    }
}

async fn dispatch(command: Command, daemon: &Daemon, screen: Screen, json: bool) -> Result<Exit, Failure> {
    match command {
        Command::Common(command) | Command::Agent { command: AgentGroup::Common(command) } => match command {
            AgentCommand::Run(run) => run::run(*run, daemon, screen, json).await,
            AgentCommand::Send(send) => run::send(send, daemon, screen, json).await,
            AgentCommand::Attach(one) => run::attach(one.agent, daemon, screen, json).await,
            AgentCommand::Logs(logs) => logs::logs(logs, daemon, screen, json).await,
            AgentCommand::Ls(ls) => agents::ls(ls, daemon, screen, json).await,
            AgentCommand::Wait(wait) => agents::wait(wait, daemon, screen, json).await,
            AgentCommand::Stop(one) => agents::stop(one.agent, daemon, screen, json).await,
            AgentCommand::Archive(one) => agents::archive(one.agent, daemon, screen, json).await,
            AgentCommand::Delete(delete) => agents::delete(delete, daemon, screen, json).await,
            AgentCommand::Inspect(one) => agents::inspect(one.agent, daemon, &screen, json).await,
        },
        Command::Agent { command: AgentGroup::Update(update) } => agents::update(update, daemon, screen, json).await,
        Command::Agent { command: AgentGroup::Mode { agent, mode } } => {
            agents::mode(agent, mode, daemon, screen, json).await
        }
        Command::Permit { command } => agents::permit(command, daemon, screen, json).await,
        Command::Worktree { command } => worktrees::worktree(command, daemon, screen, json).await,
        Command::Schedule { command } => schedules::schedule(command, daemon, screen, json).await,
        Command::Provider { command } => worktrees::provider(command, daemon, screen, json).await,
        Command::Daemon { command } => daemon::daemon(command, daemon, screen, json).await,
        Command::Mcp => unreachable!("it has a runtime of its own"),
        Command::Completions { .. } | Command::InstallCli { .. } => unreachable!("they need no daemon"),
    }
}

/// Says on standard error why a command was not carried out.
fn report(failure: Failure, json: bool) -> Exit {
    let (exit, error) = match failure {
        Failure::Unread => return Exit::Done,
        Failure::Refused { exit, error } => (exit, error),
    };
    // When standard error is closed too, the exit code still tells.
    let _ = write_error(&error, json);
    exit
}

fn write_error(error: &ApiError, json: bool) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut stderr = std::io::stderr().lock();
    if json {
        return writeln!(stderr, "{}", serde_json::to_string(error)?);
    }
    writeln!(stderr, "error: {}", table::clean(&error.message))?;
    match &error.hint {
        Some(hint) => writeln!(stderr, "hint: {}", table::clean(hint)),
        None => Ok(()),
    }
}

/// Says what is wrong with the arguments, or shows the help that they ask for.
fn misunderstood(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // When nobody reads it, there is nobody to tell either.
        let _ = error.print();
        return Exit::Done.into();
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let text = error.to_string();
    let paragraph = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let help = format!("`{} --help` shows how", innermost(&arguments));
    let hint = tip.map_or_else(|| help.clone(), |tip| format!("{tip}; {help}"));
    let message = paragraph.trim_start_matches("error: ");
    let failure = Failure::usage(message, hint);
    report(failure, arguments.iter().any(|argument| argument == "--json")).into()
}

/// Returns the innermost command that arguments name.
fn innermost(arguments: &[String]) -> String {
    let tree = Cli::command();
    let (mut at, mut words) = (&tree, vec!["paseo"]);
    for argument in arguments.iter().filter(|argument| !argument.starts_with('-')) {
        match at.find_subcommand(argument) {
            Some(command) => at = command,
            None => break,
        }
        words.push(argument);
    }
    words.join(" ")
}
