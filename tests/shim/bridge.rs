//! The shell's bridge: under a shim as agents have it, and alone where somebody does not read.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use base64::Engine as _;
use paseo_daemon::shim::Launching;
use serde_json::{Value, json};

use super::{HELPER, Result, Run, Scratch, code, is_alive};

fn bridge(scratch: &Scratch) -> Result<Launching> {
    let mut launching = scratch.script("")?;
    launching.program = HELPER.to_owned();
    launching.args = vec!["__bridge".to_owned(), "shell".to_owned()];
    let run_dir = launching.run_dir.display().to_string();
    launching.env.extend([("PASEO_RUN_DIR".to_owned(), run_dir), ("SHELL".to_owned(), "/bin/sh".to_owned())]);
    Ok(launching)
}

impl Run {
    async fn order(&self, order: Value) -> Result {
        let id = uuid::Uuid::new_v4().to_string();
        Ok(self.write(&id, &order.to_string()).await?)
    }

    async fn reply(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.line().await?)?)
    }

    /// Hears a script to its end: what it printed, and how it ended.
    async fn script_end(&mut self) -> Result<(BTreeMap<String, Vec<u8>>, Value)> {
        let mut output = BTreeMap::<String, Vec<u8>>::new();
        loop {
            let reply = self.reply().await?;
            if let Some(exit) = reply.get("exit") {
                return Ok((output, exit.clone()));
            }
            if let Some(out) = reply.get("out") {
                let bytes = match (&out["text"], &out["base64"]) {
                    (Value::String(text), Value::Null) => text.clone().into_bytes(),
                    (Value::Null, Value::String(base64)) => base64::prelude::BASE64_STANDARD.decode(base64)?,
                    _ => return Err(format!("neither text nor base64: {out}").into()),
                };
                output.entry(out["stream"].as_str().unwrap_or_default().to_owned()).or_default().extend(bytes);
            }
        }
    }

    async fn run_script(&mut self, id: &str, script: &str) -> Result<(BTreeMap<String, Vec<u8>>, Value)> {
        self.order(json!({ "run": { "id": id, "script": script, "ask": false } })).await?;
        self.script_end().await
    }
}

fn exit(id: &str, code: i64) -> Value {
    json!({ "id": id, "code": code, "denied": false, "interrupted": false })
}

#[tokio::test]
async fn a_script_runs_when_it_is_allowed_and_not_when_it_is_denied() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(bridge(&scratch)?).await?;
    let ask = |id: &str| json!({ "run": { "id": id, "script": "echo yes; echo no >&2; exit 4", "ask": true } });
    run.order(ask("1")).await?;
    let asked = json!({ "ask": { "id": "1", "script": "echo yes; echo no >&2; exit 4" } });
    assert_eq!(run.reply().await?, asked);
    run.order(json!({ "answer": { "id": "other", "allow": true } })).await?;
    run.order(json!({ "answer": { "id": "1", "allow": true } })).await?;
    assert_eq!(run.reply().await?["started"]["id"], "1");
    let (output, end) = run.script_end().await?;
    assert_eq!((output["stdout"].as_slice(), output["stderr"].as_slice()), (&b"yes\n"[..], &b"no\n"[..]));
    assert_eq!(end, exit("1", 4));

    run.order(ask("2")).await?;
    run.reply().await?;
    run.order(json!({ "answer": { "id": "2", "allow": false, "message": "not here" } })).await?;
    let denied = json!({ "id": "2", "denied": true, "interrupted": false, "message": "not here" });
    assert_eq!(run.script_end().await?.1, denied);

    // Somebody allows something else.
    run.order(ask("3")).await?;
    run.reply().await?;
    run.order(json!({ "answer": { "id": "3", "allow": true, "script": "echo edited" } })).await?;
    let (output, end) = run.script_end().await?;
    assert_eq!((output["stdout"].as_slice(), end), (&b"edited\n"[..], exit("3", 0)));

    // An interrupt takes the question back.
    run.order(ask("4")).await?;
    run.reply().await?;
    run.order(json!({ "interrupt": {} })).await?;
    assert_eq!(run.script_end().await?.1, json!({ "id": "4", "denied": false, "interrupted": true }));

    // Without anybody to answer, it is not run.
    run.order(ask("5")).await?;
    run.words()?.close().await?;
    assert_eq!(run.script_end().await?.1["denied"], true);
    assert_eq!(run.exit().await?, code(0));
    Ok(())
}

#[tokio::test]
async fn scripts_run_one_after_the_other_and_leave_no_files() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(bridge(&scratch)?).await?;
    let script = r#"read -r line || echo "no input"; echo "dir=$PASEO_RUN_DIR"; stat -c %a "$0"; pwd"#;
    for id in ["1", "2", "3"] {
        run.order(json!({ "run": { "id": id, "script": script } })).await?;
    }
    run.words()?.close().await?;
    for id in ["1", "2", "3"] {
        let (output, end) = run.script_end().await?;
        let text = String::from_utf8(output["stdout"].clone())?;
        assert_eq!(text, format!("no input\ndir=\n600\n{}\n", fs::canonicalize(&scratch.path)?.display()));
        assert_eq!(end, exit(id, 0));
    }
    assert_eq!(run.exit().await?, code(0));
    let names = fs::read_dir(&run.launching.run_dir)?.map(|entry| Ok(entry?.file_name().display().to_string()));
    let names = names.collect::<Result<Vec<String>>>()?;
    assert!(!names.iter().any(|name| name.starts_with("script")), "{names:?}");
    Ok(())
}

#[tokio::test]
async fn an_interrupt_leaves_nothing_of_what_a_script_started() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(bridge(&scratch)?).await?;
    let script = r#"trap '' TERM INT HUP
        echo $$
        (setsid sh -c 'echo $$; (sh -c "echo \$\$; exec sleep 1000" &); exec sleep 1001' &)
        sleep 1002"#;
    run.order(json!({ "run": { "id": "1", "script": script } })).await?;
    let mut text = String::new();
    while text.lines().count() < 3 {
        text += run.reply().await?["out"]["text"].as_str().unwrap_or_default();
    }
    run.order(json!({ "interrupt": {} })).await?;
    let end = run.script_end().await?.1;
    assert_eq!(end, json!({ "id": "1", "signal": "KILL", "denied": false, "interrupted": true }));
    for pid in text.lines() {
        assert!(!is_alive(pid.parse()?), "{pid} of {text}");
    }

    // One that listens is not waited for, and the next one runs.
    let script = "trap 'echo stopping; exit 9' TERM; echo in; while :; do sleep 0.01; done";
    run.order(json!({ "run": { "id": "2", "script": script } })).await?;
    while run.reply().await?.get("out").is_none() {}
    run.order(json!({ "interrupt": {} })).await?;
    let (output, end) = run.script_end().await?;
    assert_eq!(output["stdout"], b"stopping\n");
    assert_eq!(end, json!({ "id": "2", "code": 9, "denied": false, "interrupted": true }));
    let (output, end) = run.run_script("3", "echo after").await?;
    assert_eq!((output["stdout"].as_slice(), end), (&b"after\n"[..], exit("3", 0)));
    Ok(())
}

#[tokio::test]
async fn output_keeps_its_bytes_and_its_characters() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(bridge(&scratch)?).await?;
    let (output, _) = run.run_script("1", "head -c 100000 /dev/urandom > bytes; cat bytes").await?;
    assert_eq!(output["stdout"], fs::read(scratch.path.join("bytes"))?);

    // Three bytes a character: whatever the pieces are, none goes through one.
    let check = "yes '✓✓✓✓✓✓✓' | head -c 66000; printf '\\342\\234'; sleep 0.1; printf '\\223 ä'";
    run.order(json!({ "run": { "id": "2", "script": check } })).await?;
    let mut text = String::new();
    loop {
        let reply = run.reply().await?;
        if reply.get("exit").is_some() {
            break;
        }
        if let Some(out) = reply.get("out") {
            assert!(out["text"].as_str().is_some_and(|text| text.len() <= 8200), "{out}");
            text += out["text"].as_str().unwrap_or_default();
        }
    }
    assert!(text.starts_with("✓✓✓✓✓✓✓\n") && text.ends_with("✓ ä"), "{}", text.len());

    // The beginning of a character that never came.
    let (output, _) = run.run_script("3", "printf 'a\\342\\234'; printf '\\303' >&2").await?;
    assert_eq!((output["stdout"].as_slice(), output["stderr"].as_slice()), (&b"a\xe2\x9c"[..], &b"\xc3"[..]));
    Ok(())
}

#[tokio::test]
async fn a_child_in_the_background_does_not_hold_up_the_end() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(bridge(&scratch)?).await?;
    let (output, end) = run.run_script("1", "sleep 1000 & echo $!").await?;
    assert_eq!(end, exit("1", 0));
    let background: i64 = String::from_utf8(output["stdout"].clone())?.trim().parse()?;
    assert!(is_alive(background));
    run.words()?.close().await?;
    run.exit().await?;
    assert!(!is_alive(background));
    Ok(())
}

#[tokio::test]
async fn a_shell_that_is_not_there_is_the_reason() -> Result {
    let scratch = Scratch::new()?;
    let mut launching = bridge(&scratch)?;
    launching.env.push(("SHELL".to_owned(), "/no/such/shell".to_owned()));
    let mut run = Run::start(launching).await?;
    let (_, end) = run.run_script("1", "echo hello").await?;
    assert_eq!(end["reason"], "/no/such/shell: no such file");
    run.order(json!({ "what": {} })).await?;
    run.words()?.close().await?;
    let (records, _) = run.rest().await?;
    assert!(format!("{records:?}").contains("an order was not understood"), "{records:?}");
    Ok(())
}

#[test]
fn a_flood_costs_no_memory_when_nobody_reads_it() -> Result {
    let scratch = Scratch::new()?;
    let mut command = Command::new(HELPER);
    command.args(["__bridge", "shell"]).current_dir(&scratch.path).env("PASEO_RUN_DIR", &scratch.path);
    let mut bridge = command.env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut orders = bridge.stdin.take().ok_or("it has no input")?;
    let replies = BufReader::new(bridge.stdout.take().ok_or("it has no output")?);
    writeln!(orders, "{}", json!({ "run": { "id": "1", "script": "yes & echo $! >&2; yes" } }))?;
    let mut replies = replies.lines();
    for _ in 0..1000 {
        replies.next().ok_or("it ended")??;
    }
    // Nobody reads now: the writers wait, and orders are heard all the same.
    writeln!(orders, "{}", json!({ "interrupt": {} }))?;
    let status = fs::read_to_string(format!("/proc/{}/status", bridge.id()))?;
    // What the program itself takes up of the disk's cache is nothing that the flood costs.
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no memory is shown")?;
    let own: i64 = own.trim().trim_end_matches(" kB").parse()?;
    assert!(own < 8 << 10, "{own} KiB");
    drop(orders);
    let last = replies.last().ok_or("it said nothing more")??;
    let last: Value = serde_json::from_str(&last)?;
    assert_eq!(last["exit"]["interrupted"], true, "{last}");
    assert!(bridge.wait()?.success());
    Ok(())
}
