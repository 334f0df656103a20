//! Models that fail, and programs that cannot run.

use paseo_sdk::Code;
use paseo_sdk::catalogue::{ListAgents, UpdateAgent};
use paseo_sdk::model::{Status, WaitOutcome};

use super::Cell;
use super::stage::{Kind, Stage, notices, send, status};
use crate::lab::timeline;

pub(super) async fn model_error(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    if let Kind::Shell = stage.kind {
        let failed = client.create_agent(stage.free("exit 3")).await.expect("it runs");
        assert_eq!((failed.outcome, failed.status), (Some(WaitOutcome::Error), Status::Error));
        stage.end(&client).await;
        return Cell::Out("it uses no model; a script that fails is an error");
    }
    let failed = client.create_agent(stage.free("[[error: 400]]")).await.expect("it starts");
    assert_eq!((failed.outcome, failed.status), (Some(WaitOutcome::Error), Status::Error), "{failed:?}");
    let said = if let Kind::Codex { .. } = stage.kind { "a scripted error" } else { "400" };
    assert!(failed.reason.is_some_and(|reason| reason.contains(said)));
    let done = send(&client, &failed.agent_id, &stage.kind.says("again")).await;
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "it can go on: {done:?}");
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn overloaded(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    if let Kind::Shell = stage.kind {
        stage.end(&client).await;
        return Cell::Out("it uses no model");
    }
    let done = client.create_agent(stage.free("[[error: 529 1]]")).await.expect("it starts");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
    let entries = timeline(&client, &done.agent_id).await;
    assert!(notices(&entries).iter().any(|notice| notice.contains("529") && notice.contains("again")), "{entries:#?}");
    let failed = client.create_agent(stage.free("[[error: 529]]")).await.expect("it starts");
    assert_eq!(failed.outcome, Some(WaitOutcome::Error), "{failed:?}");
    assert!(failed.reason.is_some_and(|reason| reason.contains("529")));
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn unknown_model(mut stage: Stage) -> Cell {
    let client = stage.client().await;
    let mut task = stage.free(&stage.kind.says("hello"));
    task.model = Some("no-such-model".to_owned());
    stage.model.forget("no-such-model");
    let failed = client.create_agent(task).await;
    if let Kind::Shell = stage.kind {
        assert_eq!(failed.expect_err("it has none").code, Code::Unsupported);
        stage.end(&client).await;
        return Cell::Out("it uses no model");
    }
    let failed = failed.expect("it starts");
    assert_eq!(failed.outcome, Some(WaitOutcome::Error), "{failed:?}");
    assert!(failed.reason.is_some_and(|reason| reason.contains("no-such-model")));
    let other = if let Kind::Claude { .. } = stage.kind { "haiku" } else { "gpt-5.5" };
    let mend = UpdateAgent {
        agent_id: (&failed.agent_id).into(),
        title: None,
        labels: std::collections::BTreeMap::new(),
        model: Some(other.to_owned()),
    };
    let mended = client.update_agent(mend).await.expect("another model");
    assert_eq!(mended.provider, format!("{}/{other}", stage.kind.name()));
    let done = send(&client, &failed.agent_id, &stage.kind.says("again")).await;
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
    let (model, _) = stage.model.asked();
    assert!(model.contains(other), "{model}");
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn missing_program(mut stage: Stage) -> Cell {
    let empty = stage.lab.path("nothing");
    std::fs::create_dir(&empty).expect("a directory");
    stage.lab.set_env([("PATH".to_owned(), empty.display().to_string())]);
    let client = stage.client().await;
    if let Kind::Shell = stage.kind {
        stage.end(&client).await;
        return Cell::Out("it comes with paseo");
    }
    let refused = client.create_agent(stage.free(&stage.kind.says("hello"))).await.expect_err("it is not there");
    assert_eq!(refused.code, Code::Unavailable);
    assert!(refused.message.contains(&format!("`{}`", stage.kind.name())), "{refused}");
    assert!(refused.hint.is_some_and(|hint| hint.contains("npm install -g @")));
    assert!(client.list_agents(ListAgents::default()).await.expect("a list").agents.is_empty(), "nothing was made");
    stage.end(&client).await;
    Cell::Passed
}

pub(super) async fn missing_credentials(mut stage: Stage) -> Cell {
    stage.log_out();
    let client = stage.client().await;
    if let Kind::Shell = stage.kind {
        stage.end(&client).await;
        return Cell::Out("it needs no account");
    }
    let refused = client.create_agent(stage.free(&stage.kind.says("hello"))).await.expect_err("nobody is logged in");
    let said = format!("{} is not logged in", stage.kind.name());
    assert_eq!((refused.code, refused.message), (Code::Unavailable, said));
    assert!(refused.hint.is_some_and(|hint| hint.contains("login")));
    assert!(client.list_agents(ListAgents::default()).await.expect("a list").agents.is_empty(), "nothing was made");
    if let Kind::Codex { .. } = stage.kind {
        stage.end(&client).await;
        return Cell::Passed;
    }
    // One whose key is refused later is told so too.
    stage.model.require_key("another key");
    let mut task = stage.free(&stage.kind.says("hello"));
    task.env = [("ANTHROPIC_API_KEY".to_owned(), "sk-ant-wrong".to_owned())].into();
    let failed = client.create_agent(task).await.expect("it starts");
    assert_eq!(failed.outcome, Some(WaitOutcome::Error), "{failed:?}");
    let agent = status(&client, &failed.agent_id).await;
    assert!(agent.reason.is_some_and(|reason| reason.to_lowercase().contains("api key")));
    stage.end(&client).await;
    Cell::Passed
}
