//! Starting a program by way of a trampoline: `paseo __exec`, which does what must happen between fork and exec.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::{Pid, getpid, getppid};

/// A program that runs: in a process group of its own, its output readable without blocking.
pub(crate) struct Running {
    pub(crate) pid: Pid,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

/// Starts `program` with `stdin`, and returns when it runs; `prepare` sets its environment and directory.
pub(crate) fn spawn(
    program: &OsStr,
    args: &[OsString],
    stdin: OwnedFd,
    prepare: impl FnOnce(&mut Command),
) -> Result<Running, String> {
    let mut child = start(program, args, stdin, |command| {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        prepare(command);
    })?;
    let pid = Pid::from_child(&child);
    let message = match (child.stdout.take(), child.stderr.take()) {
        (Some(stdout), Some(stderr)) => match nonblocking(&stdout).and_then(|()| nonblocking(&stderr)) {
            Ok(()) => return Ok(Running { pid, stdout, stderr }),
            Err(error) => cannot(program, &error),
        },
        _ => format!("cannot start {}: it has no output", program.display()),
    };
    end(&mut child);
    Err(message)
}

/// Does the same with both outputs in one pipe, so that what was printed first is read first.
pub(crate) fn spawn_merged(
    program: &OsStr,
    args: &[OsString],
    stdin: OwnedFd,
    prepare: impl FnOnce(&mut Command),
) -> Result<(Pid, OwnedFd), String> {
    let pipe = || -> io::Result<_> {
        let (output, stdout) = io::pipe()?;
        nonblocking(&output)?;
        let stderr = stdout.try_clone()?;
        Ok((output, stdout, stderr))
    };
    let (output, stdout, stderr) = pipe().map_err(|error| cannot(program, &error))?;
    let child = start(program, args, stdin, |command| {
        command.stdout(stdout).stderr(stderr);
        prepare(command);
    })?;
    Ok((Pid::from_child(&child), output.into()))
}

/// Starts `program` with `stdin`, and returns when it runs; `prepare` sets everything else.
///
/// Its standard input goes to the trampoline as a message over a socket, which takes its place until then. The socket
/// is closed by the exec itself: that is how the caller knows that there is a program, or why there is none.
fn start(
    program: &OsStr,
    args: &[OsString],
    stdin: OwnedFd,
    prepare: impl FnOnce(&mut Command),
) -> Result<Child, String> {
    let failed = |error: io::Error| cannot(program, &error);
    let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut command = Command::new(own_program().map_err(failed)?);
    command.arg0("paseo").arg("__exec").arg(program).args(args).process_group(0).stdin(OwnedFd::from(theirs));
    prepare(&mut command);
    let mut child = command.spawn().map_err(failed)?;
    // The command holds the other end of the socket.
    drop(command);
    let result = hand_over(&mut ours, stdin).and_then(|()| {
        let mut answer = String::new();
        ours.read_to_string(&mut answer)?;
        Ok(answer)
    });
    let message = match result {
        Ok(answer) if answer.is_empty() => return Ok(child),
        Ok(answer) => answer,
        Err(error) => failed(error),
    };
    end(&mut child);
    Err(message)
}

/// Ends a child that nobody wants.
fn end(child: &mut Child) {
    // A trampoline that failed is ending already; nothing else is to be done where this fails.
    let _ = child.kill();
    let _ = child.wait();
}

fn cannot(program: &OsStr, error: &io::Error) -> String {
    format!("cannot start {}: {}", program.display(), sentence(error))
}

/// The trampoline: becomes the program that its arguments name.
pub(crate) fn exec() -> i32 {
    // First of all, so that no moment is left in which the parent could end unnoticed.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let Ok(control) = fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { return 127 };
    let mut control = UnixStream::from(control);
    let message = match take_over(&control) {
        Ok(stdin) => {
            let mut arguments = std::env::args_os().skip(2);
            let program = arguments.next().unwrap_or_default();
            match rustix::stdio::dup2_stdin(&stdin) {
                Ok(()) => {
                    drop(stdin);
                    let error = Command::new(&program).args(arguments).exec();
                    refusal(&program, &error)
                }
                Err(error) => sentence(&error.into()),
            }
        }
        // The parent has gone, and with it whoever could be told.
        Err(_) => return 127,
    };
    let _ = control.write_all(message.as_bytes());
    127
}

/// Says an I/O error as a part of a sentence.
pub(crate) fn sentence(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            let mut letters = text.chars();
            letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
        }
    }
}

/// Makes reading and writing return at once.
pub(crate) fn nonblocking(file: impl std::os::fd::AsFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(file, true)?)
}

/// Returns the program that this process runs, also when its file has been replaced since.
fn own_program() -> io::Result<PathBuf> {
    match cfg!(target_os = "linux") {
        true => Ok(PathBuf::from("/proc/self/exe")),
        false => std::env::current_exe(),
    }
}

fn hand_over(socket: &mut UnixStream, stdin: OwnedFd) -> io::Result<()> {
    let descriptors = [stdin.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    rights.push(SendAncillaryMessage::ScmRights(&descriptors));
    let own = getpid().as_raw_pid().to_le_bytes();
    sendmsg(&*socket, &[IoSlice::new(&own)], &mut rights, SendFlags::empty())?;
    Ok(())
}

/// Takes the program's standard input, unless the parent has gone.
fn take_over(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut parent = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut parent)], &mut rights, RecvFlags::empty())?;
    let descriptor = rights.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match descriptor {
        Some(descriptor) if getppid().map(Pid::as_raw_pid) == Some(i32::from_le_bytes(parent)) => Ok(descriptor),
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Says why a program could not be started.
fn refusal(program: &OsStr, error: &io::Error) -> String {
    let name = program.display();
    match error.kind() {
        // The system says the same when the file is there and what its first line names is not.
        io::ErrorKind::NotFound if is_there(program) => {
            format!("{name}: the interpreter that its first line names is not there")
        }
        _ => format!("{name}: {}", sentence(error)),
    }
}

fn is_there(program: &OsStr) -> bool {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return File::open(path).is_ok();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join(path).is_file())
}
