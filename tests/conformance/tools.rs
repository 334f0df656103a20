//! The tools of paseo, as every agent finds them.

use paseo_sdk::catalogue::CreateAgent;
use paseo_sdk::model::{Mode, WaitOutcome};

use super::Cell;
use super::stage::{Kind, Stage, notices};
use crate::lab::{TOOLS, calls, timeline};

pub(super) async fn own_tools_are_not_asked_for(mut stage: Stage) -> Cell {
    let call = match stage.kind {
        Kind::Shell => return Cell::Out("a script calls no tools: it runs `paseo`"),
        Kind::Claude { .. } => "mcp__paseo__archive_agent",
        Kind::Codex { .. } => "mcp__paseo/archive_agent",
    };
    stage.lab.serve_tools_by(TOOLS);
    let client = stage.client().await;
    for mode in [Mode::Plan, Mode::Default, Mode::Auto, Mode::FullAccess] {
        let task = stage.asking(&format!("[[tool: {call} {{}}]] [[text: called]]"));
        let task = CreateAgent { inject_tools: None, mode: Some(mode.clone()), ..task };
        let done = client.create_agent(task).await.expect("it starts");
        assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{mode}: {done:?}");
        let entries = timeline(&client, &done.agent_id).await;
        let outputs: Vec<_> = calls(&entries).iter().filter_map(|call| call.output.as_deref()).collect();
        let whose = format!("archive_agent for {} of {}, token of ", done.agent_id, stage.lab.home().display());
        let [output] = &outputs[..] else { panic!("one call in {mode}: {entries:#?}") };
        assert!(output.contains(&whose) && !output.ends_with(" 0"), "{mode}: {output}");
        assert!(!notices(&entries).iter().any(|notice| notice.contains("server")), "{mode}: {entries:#?}");
    }
    stage.end(&client).await;
    Cell::Passed
}
