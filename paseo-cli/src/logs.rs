//! `paseo logs`: what an agent did, entry by entry.

use paseo_sdk::catalogue::{GetAgentStatus, GetAgentTimeline, WatchAgents, WatchFrom};
use paseo_sdk::client::Client;
use paseo_sdk::item::{Entry, Happening};
use paseo_sdk::model::{AgentRef, Event, Status, Timestamp};

use crate::command::Logs;
use crate::entry;
use crate::exit::{Exit, Failure};
use crate::run::deleted;
use crate::screen::Screen;
use crate::start::Daemon;

/// `paseo logs`.
pub(crate) async fn logs(logs: Logs, daemon: &Daemon, mut screen: Screen, json: bool) -> Result<Exit, Failure> {
    let client = daemon.client().await?;
    let agent = client.get_agent_status(GetAgentStatus { agent_id: logs.agent.clone() }).await?;
    let request = GetAgentTimeline {
        limit: Some(PAGE),
        kinds: logs.kinds.clone(),
        ..GetAgentTimeline::after(&agent.agent_id, 0)
    };
    let oldest = logs.since.map(|since| screen.out.now.plus(-since.milliseconds));
    let mut printer = Printer { json, oldest, texts: entry::Texts::new(screen.out.clone()) };
    let last = match logs.tail {
        Some(count) => tail(&client, request, count, &mut printer, &mut screen).await?,
        None => all(&client, request, &mut printer, &mut screen).await?,
    };
    if !logs.follow {
        return Ok(Exit::Done);
    }
    if !json {
        screen.pieces(printer.texts.go_live())?;
    }
    let from = WatchFrom { agent_id: AgentRef::from(&agent.agent_id), after: last };
    let mut watch = client.watch(WatchAgents { agents: Some(vec![from]) });
    loop {
        let event = tokio::select! {
            event = watch.next() => event,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(event) = event else {
            screen.pieces(printer.texts.end_line())?;
            return Ok(Exit::Done);
        };
        match event? {
            Event::AgentEntry { entry, .. } if logs.kinds.is_empty() || logs.kinds.contains(&entry.what.kind()) => {
                printer.print(&entry, &mut screen)?;
            }
            Event::AgentText { delta, .. } if !json => screen.pieces(printer.texts.delta(&delta))?,
            Event::AgentRemoved { agent_id } if agent_id == agent.agent_id => return Err(deleted(&agent_id)),
            Event::AgentChanged(now) if now.agent_id == agent.agent_id && now.status == Status::Archived => {
                return Ok(Exit::Done);
            }
            _ => {}
        }
    }
}

/// How many entries are asked for at a time.
const PAGE: i64 = 1000;

struct Printer {
    json: bool,
    oldest: Option<Timestamp>,
    texts: entry::Texts,
}

impl Printer {
    fn print(&mut self, entry: &Entry, screen: &mut Screen) -> Result<(), Failure> {
        if self.oldest.is_some_and(|oldest| entry.at < oldest) {
            return Ok(());
        }
        match self.json {
            true => screen.raw(&(serde_json::to_string(entry).map_err(std::io::Error::from)? + "\n"))?,
            false => screen.pieces(self.texts.entry(entry))?,
        }
        Ok(())
    }
}

/// Prints from the beginning on; returns the number of the last entry there is.
async fn all(
    client: &Client,
    mut request: GetAgentTimeline,
    printer: &mut Printer,
    screen: &mut Screen,
) -> Result<i64, Failure> {
    loop {
        let page = client.get_agent_timeline(request.clone()).await?;
        for entry in &page.entries {
            printer.print(entry, screen)?;
        }
        match page.entries.last() {
            Some(last) if page.more => request.after = Some(last.seq),
            last => return Ok(last.map_or(page.last_seq, |last| last.seq.max(page.last_seq))),
        }
    }
}

/// Prints the newest entries; returns the number of the last one there is.
async fn tail(
    client: &Client,
    mut request: GetAgentTimeline,
    count: i64,
    printer: &mut Printer,
    screen: &mut Screen,
) -> Result<i64, Failure> {
    request.after = None;
    // Most items have a beginning that does not count.
    request.limit = Some(count.saturating_mul(2).clamp(1, PAGE));
    let wanted = usize::try_from(count).unwrap_or(usize::MAX);
    // People see one block for an item's beginning and end.
    let json = printer.json;
    let counts = |entry: &Entry| json || !matches!(entry.what, Happening::ItemOpened { .. });
    let (mut newest, mut entries) = (None, Vec::new());
    loop {
        let mut page = client.get_agent_timeline(request.clone()).await?;
        newest.get_or_insert(page.last_seq);
        request.before = page.entries.first().map(|first| first.seq);
        let older = page.more && !page.entries.is_empty();
        page.entries.append(&mut entries);
        entries = page.entries;
        let counted = entries.iter().filter(|entry| counts(entry)).count();
        if counted >= wanted || !older {
            let mut surplus = counted.saturating_sub(wanted);
            let from = entries.iter().take_while(|entry| {
                let skipped = surplus > 0;
                surplus -= usize::from(skipped && counts(entry));
                skipped
            });
            let from = from.count();
            entries.drain(..from);
            break;
        }
    }
    for entry in &entries {
        printer.print(entry, screen)?;
    }
    Ok(newest.unwrap_or_default())
}
