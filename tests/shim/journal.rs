//! What is written down, in which order, and what a daemon hears of it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use paseo_daemon::shim::journal;
use paseo_daemon::shim::link::{self, News};
use paseo_daemon::shim::{Report, SHIM_FILE, place};
use paseo_sdk::provider::{Line, Record, TellId, What, Whom};

use super::{Result, Run, Scratch, code, is_alive, said};

#[tokio::test]
async fn what_an_agent_says_and_is_told_is_in_its_journal() -> Result {
    let scratch = Scratch::new()?;
    let script = r#"while read -r line; do echo "got $line"; done; echo bye >&2"#;
    let mut run = Run::start(scratch.script(script)?).await?;
    run.write("t1", "one").await?;
    run.write("t2", "zwei ✓").await?;
    assert_eq!(run.line().await?, "got one");
    assert_eq!(run.line().await?, "got zwei ✓");
    run.words()?.close().await?;
    let (rest, exit) = run.rest().await?;
    assert_eq!(exit, code(0));
    let whats: Vec<What> = rest.into_iter().map(|record| record.what).collect();
    assert_eq!(whats[..2], [What::Closed {}, What::Muttered(Line::Text("bye".to_owned()))]);

    let records: Vec<Record> = journal::read(&run.launching.run_dir)?.collect::<Result<_, _>>()?;
    let numbers: Vec<i64> = records.iter().map(|record| record.seq).collect();
    assert_eq!(numbers, (1..=8).collect::<Vec<i64>>());
    let launched = What::Launched { pid: run.ready.pid, start_time: run.ready.start_time, setup: None };
    assert_eq!(records[0].what, launched);
    let told = |record: &&Record| matches!(record.what, What::Told { .. });
    let told: Vec<What> = records.iter().filter(told).map(|record| record.what.clone()).collect();
    let tell = |id: &str, line: &str| What::Told { id: TellId(id.to_owned()), line: line.to_owned() };
    assert_eq!(told, [tell("t1", "one"), tell("t2", "zwei ✓")]);

    // Nothing stays behind, not even a zombie, and nothing secret is in the files.
    assert!(!is_alive(run.ready.shim_pid) && !is_alive(run.ready.pid));
    assert!(!fs::exists(format!("/proc/{}", run.ready.shim_pid))?);
    assert!(!run.launching.socket.exists());
    assert!(!journal::is_served(&run.launching.run_dir)?);
    for entry in fs::read_dir(&run.launching.run_dir)? {
        let entry = entry?;
        assert_eq!(entry.metadata()?.permissions().mode() & 0o777, 0o600, "{entry:?}");
        assert!(!fs::read_to_string(entry.path())?.contains("only-in-memory"), "{entry:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_daemon_that_comes_back_misses_nothing_and_hears_nothing_twice() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(scratch.script("read -r x; seq 1 40000; read -r x; seq 40001 80000")?).await?;
    run.write("go", "").await?;
    let mut heard = Vec::new();
    // Cut in the middle of what is on its way, many times.
    for stop in [10, 1000, 20_000, 39_000, 50_000] {
        if stop == 39_000 {
            run.write("on", "").await?;
        }
        while heard.len() < stop {
            let record = run.until(record).await?;
            heard.push(record);
        }
        let last = heard.last().map_or(0, |record: &Record| record.seq);
        run.attach(last).await?;
    }
    heard.extend(run.rest().await?.0);
    let numbers: Vec<i64> = heard.iter().map(|record| record.seq).collect();
    assert_eq!(numbers, (1..=i64::try_from(heard.len())?).collect::<Vec<i64>>());
    let numbers = heard.iter().filter_map(|record| match &record.what {
        What::Said(line) => line.text()?.parse::<i64>().ok(),
        _ => None,
    });
    assert_eq!(numbers.collect::<Vec<i64>>(), (1..=80_000).collect::<Vec<i64>>());
    let file: Vec<Record> = journal::read_after(&run.launching.run_dir, 0)?.collect::<Result<_, _>>()?;
    assert_eq!(file, heard);
    assert_eq!(journal::read_after(&run.launching.run_dir, 70_000)?.count(), heard.len() - 70_000);
    Ok(())
}

#[tokio::test]
async fn a_line_is_told_once_however_often_it_is_written() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(scratch.script("exec cat")?).await?;
    for _ in 0..3 {
        run.write("t1", "once").await?;
        run.attach(0).await?;
    }
    run.write("t1", "once").await?;
    run.write("t2", "end").await?;
    run.words()?.close().await?;
    let (records, exit) = run.rest().await?;
    assert_eq!(exit, code(0));
    let lines: Vec<&What> =
        records.iter().map(|record| &record.what).filter(|what| matches!(what, What::Said(_))).collect();
    assert_eq!(lines, [&said("once"), &said("end")]);
    Ok(())
}

#[tokio::test]
async fn what_was_written_before_a_cut_is_told_before_the_next_daemon_is_answered() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(scratch.script("exec cat")?).await?;
    // A daemon that dies: it has not heard all, and the last thing it says is half a word.
    let mut dying = UnixStream::connect(&run.launching.socket)?;
    let mut text = "{\"attach\":{\"after\":0}}\n".to_owned();
    for number in 0..500 {
        text += &format!("{{\"write\":{{\"id\":\"t{number}\",\"line\":\"line {number}\"}}}}\n");
    }
    text += r#"{"write":{"id":"torn","li"#;
    let busy = tokio::task::spawn_blocking(move || dying.write_all(text.as_bytes()));
    // Its turn comes when the first link ends.
    run.attach(0).await?;
    busy.await??;
    let hello = run.until(|news| if let News::Hello(hello) = news { Some(hello.clone()) } else { None }).await?;
    assert!(hello.last > 500, "{hello:?}");
    run.words()?.close().await?;
    let (records, _) = run.rest().await?;
    let told = records.iter().filter(|record| matches!(record.what, What::Told { .. })).count();
    let echoed = records.iter().filter(|record| matches!(record.what, What::Said(_))).count();
    assert_eq!((told, echoed), (500, 500));
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_text_stay_what_they_are() -> Result {
    let scratch = Scratch::new()?;
    let script = r"printf 'a\377b\n\nwindows\r\nlast ✓'; printf '\303' >&2";
    let mut run = Run::start(scratch.script(script)?).await?;
    let (records, _) = run.rest().await?;
    let odd = |base64: &str| Line::Odd { text: None, base64: Some(base64.to_owned()), cut: false };
    let lines = |error: bool| {
        let lines = records.iter().filter_map(move |record| match &record.what {
            What::Said(line) if !error => Some(line.clone()),
            What::Muttered(line) if error => Some(line.clone()),
            _ => None,
        });
        lines.collect::<Vec<Line>>()
    };
    let text = |text: &str| Line::Text(text.to_owned());
    assert_eq!(lines(false), [odd("Yf9i"), text(""), text("windows\r"), text("last ✓")]);
    assert_eq!(lines(true), [odd("ww==")]);
    Ok(())
}

#[tokio::test]
async fn a_line_without_an_end_is_cut() -> Result {
    let scratch = Scratch::new()?;
    let script = "head -c 33554440 /dev/zero | tr '\\0' a; echo '; and more'; echo after";
    let mut run = Run::start(scratch.script(script)?).await?;
    let first = run.until(record).await?;
    assert!(matches!(first.what, What::Launched { .. }));
    let What::Said(Line::Odd { text: Some(text), base64: None, cut: true }) = run.until(record).await?.what else {
        return Err("the line was not cut".into());
    };
    assert_eq!(text.len(), 32 << 20);
    assert!(text.bytes().all(|byte| byte == b'a'));
    assert_eq!(run.until(record).await?.what, said("after"));

    // A cut does not go through a character.
    let mut launching = scratch.script("printf 'ab✓cd\\n12345\\n'")?;
    launching.limits.line = 4;
    let (records, _) = Run::start(launching).await?.rest().await?;
    let cut = |text: &str| What::Said(Line::Odd { text: Some(text.to_owned()), base64: None, cut: true });
    let whats: Vec<What> = records[1..3].iter().map(|record| record.what.clone()).collect();
    assert_eq!(whats, [cut("ab"), cut("1234")]);
    Ok(())
}

#[tokio::test]
async fn a_carried_journal_keeps_its_numbers_and_drops_what_is_old() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(scratch.script("exec cat")?).await?;
    for turn in 1..=3 {
        run.write(&format!("t{turn}"), &format!("turn {turn}")).await?;
        assert_eq!(run.line().await?, format!("turn {turn}"));
        run.words()?.carry(format!("knows {turn}")).await?;
        let text = run.until(|news| match record(news)?.what {
            What::Carried(text) => Some(text),
            _ => None,
        });
        assert_eq!(text.await?, format!("knows {turn}"));
    }
    let files = || -> Result<Vec<String>> {
        let names = fs::read_dir(&run.launching.run_dir)?.map(|entry| Ok(entry?.file_name().display().to_string()));
        let mut names = names.collect::<Result<Vec<String>>>()?;
        names.sort();
        Ok(names)
    };
    assert_eq!(files()?, ["journal-000003.ndjson", "journal-000004.ndjson", SHIM_FILE]);
    let first = journal::read(&run.launching.run_dir)?.next().ok_or("nothing is there")??;
    assert_eq!((first.seq, first.what), (10, What::Carried("knows 3".to_owned())));

    // What is gone is gone, and said to be.
    run.attach(0).await?;
    let hello = run.until(|news| if let News::Hello(hello) = news { Some(hello.clone()) } else { None }).await?;
    assert_eq!((hello.first, hello.last), (7, 10));
    // The previous segment still says what was told.
    run.write("t3", "turn 3").await?;
    run.words()?.close().await?;
    let (records, exit) = run.rest().await?;
    assert_eq!(exit, code(0));
    let numbers: Vec<i64> = records.iter().map(|record| record.seq).collect();
    assert_eq!(numbers, (7..=12).collect::<Vec<i64>>());
    let numbers = journal::read_after(&run.launching.run_dir, 8)?.map(|record| Ok(record?.seq));
    assert_eq!(numbers.collect::<Result<Vec<i64>>>()?, [9, 10, 11, 12]);
    Ok(())
}

#[tokio::test]
async fn words_of_a_newer_daemon_are_answered_and_passed_over() -> Result {
    let scratch = Scratch::new()?;
    let launching = scratch.script("exec cat")?;
    link::spawn(std::path::Path::new(super::HELPER), &launching).await?;
    let mut stream = UnixStream::connect(&launching.socket)?;
    let words = [
        r#"{"dance":{"how":"well"}}"#,
        "not json",
        r#"{"signal":{"signal":"WHAT","whom":"child"}}"#,
        r#"{"write":{"id":"t1","line":"two\nlines"}}"#,
        r#"{"write":{"id":"t2","line":"fine","colour":"blue"}}"#,
        r#"{"close":{}}"#,
        r#"{"attach":{"after":0}}"#,
    ];
    stream.write_all((words.join("\n") + "\n").as_bytes())?;
    let text = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    });
    let text = text.await??;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("does not understand") && lines[0].contains("dance"), "{text}");
    assert!(lines[1].contains("does not understand"), "{text}");
    assert!(lines[2].contains("no signal is called `WHAT`"), "{text}");
    let refused =
        Report::Refused { id: TellId("t1".to_owned()), reason: "it is more than one line".to_owned(), leaving: false };
    assert_eq!(serde_json::from_str::<Report>(lines[3])?, refused);
    assert!(lines[4].starts_with(r#"{"hello":{"version":1,"first":1,"last":"#), "{text}");
    assert!(lines.last().is_some_and(|line| line.contains(r#""exited":{"code":0}"#)), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_signal_goes_to_whom_it_is_sent() -> Result {
    let scratch = Scratch::new()?;
    let script = "trap 'echo caught' INT; (trap 'echo child caught; exit' INT; echo in; while :; do sleep 0.01; done) &
        wait; wait; wait";
    let mut run = Run::start(scratch.script(script)?).await?;
    run.line().await?;
    run.words()?.signal("INT", Whom::Child).await?;
    assert_eq!(run.line().await?, "caught");
    run.words()?.signal("SIGKILL", Whom::Tree).await?;
    let (records, exit) = run.rest().await?;
    assert_eq!(exit.signal.as_deref(), Some("KILL"));
    let signalled = What::Signalled { signal: "KILL".to_owned(), whom: Whom::Tree };
    assert!(records.iter().any(|record| record.what == signalled));
    Ok(())
}

#[test]
fn a_socket_is_where_only_its_owner_can_go() -> Result {
    let scratch = Scratch::new()?;
    let short = place::socket(&scratch.path, "agent", 1)?;
    assert!(short.starts_with(scratch.path.join("run")));
    assert_ne!(short, place::socket(&scratch.path, "agent", 2)?);
    assert_ne!(place::marker(&scratch.path, "agent", 1), place::marker(&scratch.path, "agent", 2));

    let home = scratch.path.join("long".repeat(30));
    let socket = || place::socket_below(&home, "agent", 1, &scratch.path);
    let directory = socket()?.parent().ok_or("it has no directory")?.to_owned();
    assert_eq!(directory.parent(), Some(scratch.path.as_path()));
    assert_eq!(fs::metadata(&directory)?.permissions().mode() & 0o777, 0o700);

    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    let refusal = socket().expect_err("others can enter it").to_string();
    assert!(refusal.contains("can be entered by others"), "{refusal}");
    fs::remove_dir(&directory)?;
    std::os::unix::fs::symlink(scratch.path.join("run"), &directory)?;
    let refusal = socket().expect_err("it is a link").to_string();
    assert!(refusal.contains("is a link"), "{refusal}");
    Ok(())
}

fn record(news: &News) -> Option<Record> {
    match news {
        News::Record(record) => Some(record.clone()),
        _ => None,
    }
}
