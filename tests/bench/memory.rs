//! Lines on memory, which Linux tells in `/proc/<pid>/smaps_rollup`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use paseo_sdk::catalogue::{CancelAgent, GetAgentStatus};
use paseo_sdk::model::AgentId;
use serde_json::json;

use crate::Result;
use crate::stage::{Daemon, Stage};
use crate::table::{self, Figures, Unit};

/// The memory of a daemon at rest.
pub(crate) fn of_the_daemon(daemon: &Daemon, when: &str) -> Result<()> {
    if !TOLD {
        return untold(&format!("daemon, {when}"));
    }
    for (name, field) in [("PSS", "Pss:"), ("RSS", "Rss:")] {
        let figures = Figures::new(Unit::Bytes, vec![field_of(daemon.pid(), field)?]);
        table::alone(&format!("daemon {name}, {when}"), &figures);
    }
    Ok(())
}

/// The memory of the shims and bridges of ten agents that run.
pub(crate) async fn of_ten_running(stage: &Stage) -> Result<()> {
    if !TOLD {
        return untold("shim and bridge, ten running");
    }
    let client = stage.client();
    let agents = stage.sleepers(&client, RUNNING).await?;
    let shells = (0..RUNNING).map(|_| Waiting::start()).collect::<Result<Vec<_>>>()?;
    let (mut bridges, mut shims) = (Vec::new(), Vec::new());
    for agent in &agents {
        let pid = client.get_agent_status(GetAgentStatus { agent_id: agent.into() }).await?.pid.ok_or("it runs")?;
        let bridge = u32::try_from(pid)?;
        bridges.push(field_of(bridge, "Pss:")?);
        shims.push(field_of(parent(bridge)?, "Pss:")?);
    }
    let bare = shells.iter().map(|shell| field_of(shell.0.id(), "Pss:")).collect::<Result<Vec<_>>>()?;
    let bare = Figures::new(Unit::Bytes, bare);
    table::beside("shim PSS, ten running", &Figures::new(Unit::Bytes, shims), "a waiting sh", &bare);
    table::beside("bridge PSS, ten running", &Figures::new(Unit::Bytes, bridges), "a waiting sh", &bare);
    let tools = (0..RUNNING).map(|_| Tools::start(stage, &agents[0])).collect::<Result<Vec<_>>>()?;
    let tools = tools.iter().map(|tools| field_of(tools.0.id(), "Pss:")).collect::<Result<Vec<_>>>()?;
    table::beside("paseo mcp PSS, ten blocked in a call", &Figures::new(Unit::Bytes, tools), "a waiting sh", &bare);
    for agent in &agents {
        client.cancel_agent(CancelAgent { agent_id: agent.into() }).await?;
    }
    Ok(())
}

/// A `paseo mcp` whose tools were listed, and in which a call waits for an agent; it ends with this.
struct Tools(Child);

impl Tools {
    fn start(stage: &Stage, agent: &AgentId) -> Result<Tools> {
        let mut bridge = stage.paseo(&["mcp"]);
        let mut tools = Tools(bridge.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let input = tools.0.stdin.as_mut().ok_or("it is piped")?;
        let mut lines = BufReader::new(tools.0.stdout.as_mut().ok_or("it is piped")?).lines();
        let client = json!({ "name": "bench", "version": "1" });
        let greeting = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
        let wait = json!({ "name": "wait_for_agent", "arguments": { "agentId": agent },
            "_meta": { "progressToken": "bench" } });
        let say = |method: &str, params| json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params });
        writeln!(input, "{}", say("initialize", greeting))?;
        writeln!(input, "{}", json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        writeln!(input, "{}", say("tools/list", json!({})))?;
        writeln!(input, "{}", say("tools/call", wait))?;
        // The first word of progress says that the call waits.
        for _ in ["greeting", "tools", "progress"] {
            lines.next().ok_or("it has ended")??;
        }
        Ok(tools)
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A `sh` that waits for a program, both of which end with this.
struct Waiting(Child);

impl Waiting {
    fn start() -> Result<Waiting> {
        // The program ends with its standard input. `true` keeps the shell from becoming it.
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "echo ready; cat; true"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut waiting = Waiting(shell.spawn()?);
        let mut ready = [0; 6];
        std::io::Read::read_exact(waiting.0.stdout.as_mut().ok_or("it is piped")?, &mut ready)?;
        Ok(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Returns a figure of a process, in bytes.
fn field_of(pid: u32, field: &str) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).ok_or("the field is there")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024.0)
}

fn parent(pid: u32) -> Result<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(text.lines().find_map(|line| line.strip_prefix("PPid:")).ok_or("it has a parent")?.trim().parse()?)
}

fn untold(what: &str) -> Result<()> {
    println!("{what}: only Linux says how much memory a process takes, in /proc");
    Ok(())
}

const TOLD: bool = cfg!(target_os = "linux");
const RUNNING: usize = 10;
