//! Home, lock, log, tokens and settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use paseo_daemon::config::{Config, Flags, Listen, Mcp, Scope};
use paseo_daemon::home::Home;
use paseo_daemon::lock::{Lock, holder, wait_until_free};
use paseo_daemon::log::{self, Rotating};
use paseo_daemon::token::Tokens;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::operation::Principal;
use tempfile::{TempDir, tempdir};

use super::caller::{House, TOKEN};

fn mode(path: &Path) -> u32 {
    path.metadata().expect("it is there").permissions().mode() & 0o777
}

fn home() -> (TempDir, Home) {
    let directory = tempdir().expect("a temporary directory");
    let home = Home::open(&directory.path().join("home")).expect("a home");
    (directory, home)
}

#[test]
fn a_home_is_made_private_and_furnished() {
    let (_directory, home) = home();
    assert_eq!(mode(home.path()), 0o700);
    assert_eq!(std::fs::read_dir(home.path()).expect("readable").count(), 0, "the lock comes before anything else");
    home.furnish().expect("room for its directories");
    for directory in [home.agents(), home.worktrees(), home.run()] {
        assert_eq!(mode(&directory), 0o700);
    }
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
    Home::open(home.path()).expect("still ours");
    assert_eq!(mode(home.path()), 0o700);
}

#[test]
fn a_home_that_is_no_directory_or_somebody_elses_is_refused_with_the_reason() {
    let directory = tempdir().expect("a temporary directory");
    let check = |path: &Path, said: &str| {
        let error = Home::open(path).expect_err("refused");
        assert!(error.message.contains(said), "{error:?}");
        assert!(error.hint.is_some(), "{error:?}");
    };
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("a file");
    check(&file, "not a directory");
    check(&file.join("below"), "below");
    let dangling = directory.path().join("dangling");
    symlink(directory.path().join("nowhere"), &dangling).expect("a link");
    check(&dangling, "dangling");
    // The only directory of another user that there is everywhere; for root, one has to be given away.
    let foreign = match rustix::process::geteuid().is_root() {
        false => "/".into(),
        true => {
            let foreign = directory.path().join("foreign");
            std::fs::create_dir(&foreign).expect("a directory");
            std::os::unix::fs::chown(&foreign, Some(12345), None).expect("root may");
            foreign
        }
    };
    check(&foreign, "belongs to");
    let link = directory.path().join("link");
    symlink(&foreign, &link).expect("a link");
    check(&link, "link");
    // A link to a directory of our own is a home like any other.
    let ours = directory.path().join("ours");
    std::fs::create_dir(&ours).expect("a directory");
    let link = directory.path().join("link to ours");
    symlink(&ours, &link).expect("a link");
    assert_eq!(Home::open(&link).expect("ours").path(), link);
}

#[test]
fn a_second_daemon_is_told_the_process_of_the_first() {
    let (_directory, home) = home();
    let lock = Lock::take(&home).expect("free");
    let refused = Lock::take(&home).expect_err("held");
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.message.contains(&format!("process {}", std::process::id())), "{refused:?}");

    let listen = ["127.0.0.1:1".to_owned(), "unix:/a/rather/long/path".to_owned()];
    lock.announce(&listen).expect("written");
    assert_eq!(holder(home.path()).expect("readable").listen, listen);
    lock.announce(&listen[..1]).expect("written");
    assert_eq!(holder(home.path()).expect("readable").listen, listen[..1], "a shorter text leaves no rest of a longer");
    assert_eq!(mode(&home.pid_file()), 0o600);

    drop(lock);
    assert_eq!(holder(home.path()), None);
    drop(Lock::take(&home).expect("free again"));
}

#[test]
fn the_lock_decides_and_not_the_text() {
    let (_directory, home) = home();
    for text in ["{\"pid\": 1, \"listen\": []}", "not JSON", ""] {
        std::fs::write(home.pid_file(), text).expect("a leftover");
        let lock = Lock::take(&home).expect("nobody holds it");
        assert_eq!(holder(home.path()).expect("readable").pid, i64::from(std::process::id()));
        drop(lock);
    }
    let lock = Lock::take(&home).expect("free");
    std::fs::write(home.pid_file(), "").expect("somebody emptied it");
    assert_eq!(Lock::take(&home).expect_err("held").code, Code::Conflict);
    drop(lock);
}

#[test]
fn the_lock_lives_on_in_a_program_that_got_it_as_standard_input() {
    const HOME: &str = "PASEO_TEST_SUCCESSOR_AT";
    if let Some(home) = std::env::var_os(HOME) {
        // We are the successor: the lock is taken over, and the file stays.
        std::mem::forget(Lock::take(&Home::open(home.as_ref()).expect("a home")).expect("inherited"));
        return;
    }
    let (_directory, home) = home();
    let lock = Lock::take(&home).expect("free");
    let name = "server::settings::the_lock_lives_on_in_a_program_that_got_it_as_standard_input";
    let program = |stdin: Stdio| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", name]).env(HOME, home.path()).stdin(stdin);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
    };
    let mut stranger = program(Stdio::null());
    assert!(!stranger.wait().expect("it ends").success(), "without the descriptor it is a second daemon");
    let mut successor = program(lock.as_stdin().expect("a descriptor"));
    let pid = i64::from(successor.id());
    assert!(successor.wait().expect("it ends").success(), "with the descriptor it is the daemon");
    assert_eq!(holder(home.path()).expect("readable").pid, pid);
    assert_eq!(Lock::take(&home).expect_err("held").code, Code::Conflict, "and it has not let go in between");
}

#[test]
fn waiting_for_a_daemon_ends_when_it_has_let_go() {
    let (_directory, home) = home();
    wait_until_free(home.path()).expect("nobody is there");
    let lock = Lock::take(&home).expect("free");
    let path = home.path().to_owned();
    let waiter = std::thread::spawn(move || wait_until_free(&path));
    drop(lock);
    waiter.join().expect("no panic").expect("free");
}

#[tokio::test]
async fn the_log_is_written_for_the_whole_process_at_the_level_asked_for() {
    const HOME: &str = "PASEO_TEST_LOGGER_AT";
    if let Some(path) = std::env::var_os(HOME) {
        // We are a daemon of our own, because a process has one log.
        let settings = log::Settings { level: Some("paseo_daemon=info".to_owned()), ..log::Settings::default() };
        assert_eq!(log::start(&settings, path.as_ref()), [""; 0]);
        let house = House::open().await;
        house.call("delete_agent", r#"{"agentId": "a"}"#).await;
        house.call("list_agents", "").await;
        let odd = log::Settings { level: Some("==".to_owned()), ..log::Settings::default() };
        assert!(log::start(&odd, path.as_ref())[0].contains("log level"), "a level that is no level is a warning");
        assert!(log::start(&odd, Path::new("/nowhere/at/all"))[0].contains("/nowhere"), "so is a file that is no file");
        return;
    }
    let directory = tempdir().expect("a temporary directory");
    let path = directory.path().join("daemon.log");
    let status = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "server::settings::the_log_is_written_for_the_whole_process_at_the_level_asked_for"])
        .env(HOME, &path)
        .stdout(Stdio::null())
        .status()
        .expect("it starts");
    assert!(status.success());
    let log = std::fs::read_to_string(&path).expect("a log");
    assert!(log.contains(" INFO paseo_daemon::server: listening on unix:"), "{log}");
    assert!(log.contains(" WARN paseo_daemon::server: delete_agent by the user: it would lose something"), "{log}");
    assert!(!log.contains("list_agents") && !log.contains(TOKEN) && !log.contains('\u{1b}'), "{log}");
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn the_log_is_moved_aside_when_it_is_large_and_keeps_its_name() -> std::io::Result<()> {
    let directory = tempdir()?;
    let path = directory.path().join("daemon.log");
    std::fs::write(&path, "from before\n")?;
    let mut log = Rotating::open(&path, 20, 3)?;
    for number in 0..12 {
        log.write_all(format!("line {number:04}\n").as_bytes())?;
    }
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap_or_default();
    assert_eq!(read("daemon.log"), "line 0010\nline 0011\n");
    assert_eq!(read("daemon.log.1"), "line 0008\nline 0009\n");
    assert_eq!(read("daemon.log.3"), "line 0004\nline 0005\n");
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 4);
    assert_eq!(mode(&path), 0o600);

    let mut log = Rotating::open(&path, 1000, 3)?;
    log.write_all(b"appended\n")?;
    assert_eq!(read("daemon.log"), "line 0010\nline 0011\nappended\n");
    // One line that is larger than everything is still one line in one file.
    log.write_all(&[b'x'; 5000])?;
    assert_eq!(read("daemon.log").len(), 5000);
    // A directory that has gone is no reason to stop.
    drop(directory);
    log.write_all(&[b'x'; 5000])?;
    Ok(())
}

#[test]
fn tokens_are_made_once_and_kept_private() -> Result<(), ApiError> {
    let (_directory, home) = home();
    let tokens = Tokens::load(&home, None)?;
    assert_eq!(tokens.user_token().len(), 64);
    assert_eq!(mode(&home.token_file()), 0o600);
    assert_eq!(mode(&home.secret_file()), 0o600);
    std::fs::set_permissions(home.token_file(), std::fs::Permissions::from_mode(0o644)).expect("ours");
    let again = Tokens::load(&home, None)?;
    assert_eq!(again.user_token(), tokens.user_token());
    assert_eq!(mode(&home.token_file()), 0o600);

    let id = "some-agent".parse().expect("an id");
    let token = tokens.agent_token(&id);
    assert_eq!(again.principal(&token), Some(Principal::Agent(id.clone())), "valid across restarts");
    assert_eq!(again.principal(tokens.user_token()), Some(Principal::User));
    for wrong in ["", "pa1.", "pa1..", "pa1.some-agent.", &token[..token.len() - 1], &format!("{token}0")] {
        assert_eq!(again.principal(wrong), None, "{wrong}");
    }
    assert!(!format!("{tokens:?}").contains(tokens.user_token()));

    let configured = Tokens::load(&home, Some("mine"))?;
    assert_eq!(configured.principal("mine"), Some(Principal::User));
    assert_eq!(configured.principal(tokens.user_token()), None);
    assert_eq!(configured.principal(&token), Some(Principal::Agent(id)));

    std::fs::write(home.token_file(), "two words\n").expect("ours");
    let refused = Tokens::load(&home, None).expect_err("not a token");
    assert!(refused.hint.is_some() && !refused.message.contains("two words"), "{refused:?}");
    Ok(())
}

/// Loads settings from a `config.json`, variables and flags.
fn load(json: Option<&str>, variables: &[(&str, &str)], flags: Flags) -> Result<Config, ApiError> {
    let directory = tempdir().expect("a temporary directory");
    if let Some(json) = json {
        std::fs::write(directory.path().join("config.json"), json).expect("a file");
    }
    let mut variables: BTreeMap<&str, OsString> =
        variables.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
    variables.insert("PASEO_HOME", directory.path().into());
    let config = Config::load(flags, |name| variables.get(name).cloned());
    if let Some(json) = json {
        assert_eq!(std::fs::read_to_string(directory.path().join("config.json")).ok().as_deref(), Some(json));
    }
    config
}

fn tcp(host: &str, port: u16) -> Listen {
    Listen::Tcp { host: host.to_owned(), port }
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() -> Result<(), ApiError> {
    let file = Some(r#"{"listen": "127.0.0.1:1", "auth": "of-the-file", "log": {"level": "debug"}}"#);
    assert_eq!(load(None, &[], Flags::default())?.listen, Some(tcp("127.0.0.1", 6767)));
    assert_eq!(load(None, &[], Flags::default())?.warnings, [""; 0]);
    let config = load(file, &[], Flags::default())?;
    assert_eq!((config.listen, config.auth.as_deref()), (Some(tcp("127.0.0.1", 1)), Some("of-the-file")));
    assert_eq!(config.log.level.as_deref(), Some("debug"));
    let variables = [("PASEO_LISTEN", "2"), ("PASEO_TOKEN", "of-the-environment"), ("PASEO_LOG", "warn")];
    let config = load(file, &variables, Flags::default())?;
    assert_eq!((config.listen, config.auth.as_deref()), (Some(tcp("127.0.0.1", 2)), Some("of-the-environment")));
    assert_eq!(config.log.level.as_deref(), Some("warn"));
    let config = load(file, &variables, Flags { listen: Some(":3".to_owned()), ..Flags::default() })?;
    assert_eq!(config.listen, Some(tcp("127.0.0.1", 3)));
    let config = load(file, &[("PASEO_LISTEN", "")], Flags::default())?;
    assert_eq!(config.listen, Some(tcp("127.0.0.1", 1)), "a variable set to nothing is not set");
    let config = load(None, &[], Flags { home: Some("/elsewhere".into()), ..Flags::default() })?;
    assert_eq!(config.home, Path::new("/elsewhere"));
    Ok(())
}

#[test]
fn every_setting_of_the_file_is_taken() -> Result<(), ApiError> {
    let config = load(
        Some(
            r#"{"hosts": ["a.example"], "origins": ["https://a.example"], "keep": ["tmux"], "env": {"A": "1"},
                "scope": "own", "mcp": {"inject": false}, "log": "/var/log/paseo.log"}"#,
        ),
        &[],
        Flags { foreground: true, ..Flags::default() },
    )?;
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!((config.hosts, config.origins), (vec!["a.example".into()], vec!["https://a.example".into()]));
    assert_eq!((config.keep, config.scope, config.mcp), (vec!["tmux".into()], Scope::Own, Mcp { inject: false }));
    assert_eq!(config.env, BTreeMap::from([("A".into(), "1".into())]));
    assert_eq!(config.log.file.as_deref(), Some(Path::new("/var/log/paseo.log")));
    assert!(config.log.foreground);
    Ok(())
}

#[test]
fn what_is_wrong_with_the_file_is_a_warning_that_names_it() -> Result<(), ApiError> {
    for (json, named) in [
        (r#"{"lisen": "127.0.0.1:1"}"#, "`lisen`"),
        (r#"{"listen": "nowhere"}"#, "`listen`"),
        (r#"{"listen": 6767}"#, "`listen`"),
        (r#"{"hosts": "a"}"#, "`hosts`"),
        (r#"{"env": {"A": 1}}"#, "`env`"),
        (r#"{"providers": ["zai"]}"#, "`providers`"),
        (r#"{"scope": "everything"}"#, "`scope`"),
        (r#"{"mcp": {"injekt": false}}"#, "`mcp`"),
        (r#"{"auth": "two words"}"#, "`auth`"),
        (r#"{"auth": ""}"#, "`auth`"),
        (r#"{"log": {"colour": true}}"#, "`log`"),
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[]", "not a JSON object"),
    ] {
        let config = load(Some(json), &[], Flags::default())?;
        let [warning] = config.warnings.as_slice() else { panic!("{json}: {:?}", config.warnings) };
        assert!(warning.contains(named) && warning.contains("config.json"), "{json}: {warning}");
        assert_eq!(Config { home: "/".into(), warnings: Vec::new(), ..config }, Config::at("/"), "{json}");
    }
    Ok(())
}

#[test]
fn a_variant_of_a_provider_is_taken_whole() -> Result<(), ApiError> {
    let file = r#"{"providers": {"zai": {"extends": "claude", "label": "Z.AI", "program": "/opt/claude-x",
        "env": {"KEY": "a secret"}, "model": "glm", "mode": "auto"}, "sandbox": {"extends": "claude"}}}"#;
    let config = load(Some(file), &[], Flags::default())?;
    assert_eq!(config.warnings, [""; 0]);
    let shown = format!("{:#?}", config.providers);
    insta::assert_snapshot!(shown);
    assert!(!shown.contains("a secret"), "what variables are set to is not shown");
    assert_eq!(config.providers["zai"].env.0, BTreeMap::from([("KEY".into(), "a secret".into())]));
    Ok(())
}

#[test]
fn what_is_wrong_with_a_variant_is_a_warning_that_names_it_and_the_others_are_taken() -> Result<(), ApiError> {
    let mut warnings = Vec::new();
    for (name, variant) in [
        ("zai", r#"{"extends": "clod"}"#),
        ("zai", r#"{"extends": "shell"}"#),
        ("zai", r#"{"label": "Z.AI"}"#),
        ("zai", r#"{"extends": "claude", "programme": "x"}"#),
        ("zai", r#"{"extends": "claude", "program": "bin/x"}"#),
        ("zai", r#"{"extends": "claude", "program": ""}"#),
        ("zai", r#"{"extends": "claude", "mode": "free"}"#),
        ("zai", r#"{"extends": "claude", "mode": "codex:never"}"#),
        ("zai", r#"{"extends": "claude", "model": "--help"}"#),
        ("zai", r#"{"extends": "claude", "label": " "}"#),
        ("zai", r#"{"extends": "claude", "env": {"KEY": 12345}}"#),
        ("zai", r#"{"extends": "claude", "env": "12345"}"#),
        ("zai", r#"{"extends": "claude", "env": {"A=B": "12345"}}"#),
        ("zai", "true"),
        ("claude", r#"{"extends": "claude"}"#),
        ("shell", r#"{"extends": "claude"}"#),
        ("z/ai", r#"{"extends": "claude"}"#),
        ("z:ai", r#"{"extends": "claude"}"#),
        ("z ai", r#"{"extends": "claude"}"#),
        ("-zai", r#"{"extends": "claude"}"#),
        ("", r#"{"extends": "claude"}"#),
    ] {
        let file = format!(r#"{{"providers": {{"{name}": {variant}, "fine": {{"extends": "claude"}}}}}}"#);
        let config = load(Some(&file), &[], Flags::default())?;
        assert_eq!(config.providers.keys().collect::<Vec<_>>(), ["fine"], "{file}");
        let [warning] = config.warnings.as_slice() else { panic!("{file}: {:?}", config.warnings) };
        let (place, warning) = warning.split_once(": ").expect("where it is");
        assert!(place.ends_with("config.json") && !warning.contains("12345"), "{warning}");
        warnings.push(warning.to_owned());
    }
    insta::assert_snapshot!(warnings.join("\n"));
    Ok(())
}

#[test]
fn flags_and_variables_that_are_wrong_are_refused_by_name() {
    let refused = load(None, &[("PASEO_LISTEN", "nowhere")], Flags::default()).expect_err("wrong");
    assert!(refused.message.starts_with("PASEO_LISTEN"), "{refused:?}");
    let refused = load(None, &[("PASEO_TOKEN", "two words")], Flags::default()).expect_err("wrong");
    assert!(refused.message.starts_with("PASEO_TOKEN") && !refused.message.contains("two words"), "{refused:?}");
    let flags = Flags { listen: Some("nowhere".to_owned()), ..Flags::default() };
    let refused = load(None, &[], flags).expect_err("wrong");
    assert!(refused.message.starts_with("--listen"), "{refused:?}");
}

#[test]
fn places_to_listen_are_read_and_written() {
    for (text, listen, shown) in [
        ("127.0.0.1:6767", tcp("127.0.0.1", 6767), "127.0.0.1:6767"),
        ("localhost:1", tcp("localhost", 1), "localhost:1"),
        ("[::1]:6767", tcp("::1", 6767), "[::1]:6767"),
        ("6767", tcp("127.0.0.1", 6767), "127.0.0.1:6767"),
        (":0", tcp("127.0.0.1", 0), "127.0.0.1:0"),
        ("0", tcp("127.0.0.1", 0), "127.0.0.1:0"),
        ("unix:/a/b c", Listen::Unix("/a/b c".into()), "unix:/a/b c"),
    ] {
        assert_eq!(text.parse(), Ok(listen.clone()), "{text}");
        assert_eq!(listen.to_string(), shown);
    }
    for text in [
        "",
        "localhost",
        "127.0.0.1",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[nonsense]:80",
        "[::1:80",
        "localhost:",
        "localhost:x",
        ":65536",
        "-1",
        "unix:",
        "unix:relative",
        "http://localhost:80",
        "a b:80",
        "user@host:80",
    ] {
        let refusal = text.parse::<Listen>().expect_err(text);
        assert!(refusal.contains("give `host:port`"), "{refusal}");
    }
}
