//! Variants of the built-in providers, as `config.json` has them: the daemon with a program that is played here, and with
//! the real Claude Code.

mod cache;

use paseo_daemon::Daemon;
use paseo_daemon::config::{Config, Variant};
use paseo_sdk::catalogue::{
    CreateAgent, ListAgents, ListModels, ListProviders, SendAgentPrompt, SetAgentMode, UpdateAgent,
};
use paseo_sdk::model::{Mode, ProviderInfo, Status, WaitOutcome};
use paseo_sdk::{Client, Code};
use serde_json::{Value, json};

use crate::conformance::stage::{Kind, Stage, kill_agent, notices};
use crate::lab::{self, Lab, timeline};
use crate::messages_api::program::claude_program;

/// A lab whose settings have variants.
struct Shop {
    lab: Lab,
    config: Config,
}

impl Shop {
    fn new() -> Shop {
        let mut lab = Lab::new();
        lab.set_env(["ENDPOINT", "OF_ALL"].map(|name| (name.to_owned(), "all".to_owned())));
        lab::program(&lab.path("agent"), include_bytes!("variants/program.sh"));
        let config = lab.config();
        Shop { lab, config }
    }

    fn program(&self) -> String {
        self.lab.path("agent").display().to_string()
    }

    /// Adds a variant that runs the program which is played here, and more.
    fn variant(mut self, name: &str, more: Value) -> Shop {
        let mut variant = json!({ "extends": "claude", "program": self.program() });
        let fields = variant.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        self.config.providers.insert(name.to_owned(), serde_json::from_value(variant).expect("a variant"));
        self
    }

    async fn daemon(&self) -> (Daemon, Client) {
        let daemon = Daemon::start(self.config.clone()).await.expect("a daemon");
        (daemon, self.lab.client())
    }

    fn task(&self, provider: &str) -> CreateAgent {
        CreateAgent::new("a test", provider, "hello").cwd(self.lab.work().display().to_string())
    }
}

async fn providers(client: &Client) -> Vec<ProviderInfo> {
    client.list_providers(ListProviders {}).await.expect("a list").providers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_has_its_own_program_environment_model_and_mode() {
    let more = json!({ "label": "Z.AI", "env": { "ENDPOINT": "zai" }, "model": "glm", "mode": "auto" });
    let shop = Shop::new().variant("zai", more).variant("plain", json!({}));
    let (_daemon, client) = shop.daemon().await;
    let check = async |task: CreateAgent, said: &str| {
        let done = client.create_agent(task).await.expect("it starts");
        assert_eq!(
            (done.outcome, done.last_message.as_deref()),
            (Some(WaitOutcome::Completed), Some(said)),
            "{done:?}"
        );
    };
    check(shop.task("zai"), "glm acceptEdits zai all").await;
    check(shop.task("zai/other/one").mode(Mode::Plan), "other/one plan zai all").await;
    let own = ("ENDPOINT".to_owned(), "own".to_owned());
    check(CreateAgent { env: [own].into(), ..shop.task("zai") }, "glm acceptEdits own all").await;
    check(shop.task("plain"), "default default all all").await;
    let zai = providers(&client).await.into_iter().find(|provider| provider.name == "zai").expect("it is there");
    assert_eq!(
        (zai.description.as_str(), zai.extends.as_deref(), zai.available),
        ("Z.AI", Some("claude"), true),
        "{zai:?}"
    );
    assert_eq!((zai.version.as_deref(), zai.logged_in), (Some("9.9.9"), Some(true)), "{zai:?}");
    shop.lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_are_known_wherever_providers_are() {
    let shop = Shop::new().variant("zai", json!({ "env": { "STRANGER": "1", "SECRET": "of a test" } }));
    let shop = shop.variant("gone", json!({ "program": "/nowhere/agent" }));
    let (_daemon, client) = shop.daemon().await;
    let refused = async |task: CreateAgent| {
        let error = client.create_agent(task).await.expect_err("it is refused");
        assert!(!format!("{error:?}").contains("of a test"));
        format!("{:?}: {}; {}", error.code, error.message, error.hint.unwrap_or_default())
    };
    let odd = Mode::Native { provider: "zai".to_owned(), name: "plan".to_owned() };
    let said = [
        refused(shop.task("glm")).await,
        refused(shop.task("zai")).await,
        refused(shop.task("gone/x")).await,
        refused(shop.task("zai/-x")).await,
        refused(shop.task("zai").mode(odd)).await,
    ];
    insta::assert_snapshot!(said.join("\n"), @"
    InvalidArgument: provider: no provider `glm`; there is: claude, codex, shell, gone, zai
    Unavailable: zai is not logged in; put what it logs in with into `providers.zai.env` in config.json, or run `claude` and type /login, or set ANTHROPIC_API_KEY
    Unavailable: provider gone needs the program `/nowhere/agent`; put it there, or correct `providers.gone.program` in config.json
    InvalidArgument: model: `-x` is not the name of a model; `paseo provider models zai` lists them
    Unsupported: mode: claude has no mode `zai:plan`; it has: plan, default, auto, full-access, claude:dontAsk, claude:auto
    ");
    let ready: Vec<_> = providers(&client).await.into_iter().filter(|provider| provider.extends.is_some()).collect();
    assert_eq!(
        ready.iter().map(|one| (one.name.as_str(), one.available)).collect::<Vec<_>>(),
        [("gone", false), ("zai", false)]
    );
    let reasons: Vec<_> = ready.into_iter().filter_map(|provider| provider.reason).collect();
    insta::assert_snapshot!(reasons.join("\n"), @"
    provider gone needs the program `/nowhere/agent`: put it there, or correct `providers.gone.program` in config.json
    not logged in: put what it logs in with into `providers.zai.env` in config.json, or run `claude` and type /login, or set ANTHROPIC_API_KEY
    ");
    shop.lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_variant_is_gone_stays_and_says_what_is_missing() {
    let mut shop = Shop::new().variant("zai", json!({}));
    let (daemon, client) = shop.daemon().await;
    let agent = client.create_agent(shop.task("zai/glm")).await.expect("it starts").agent_id;
    daemon.shutdown().await;
    let variants = std::mem::take(&mut shop.config.providers);
    let (daemon, client) = shop.daemon().await;
    let listed = client.list_agents(ListAgents::default()).await.expect("a list").agents;
    assert_eq!(listed.iter().map(|agent| agent.provider.as_str()).collect::<Vec<_>>(), ["zai/glm"]);
    // Its process is still there, and needs nothing.
    let done = client.send_agent_prompt(SendAgentPrompt::new(&agent, "again")).await.expect("it is sent");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
    kill_agent(&client, &agent).await;
    let before = timeline(&client, &agent).await.len();
    let failed = client.send_agent_prompt(SendAgentPrompt::new(&agent, "once more")).await.expect("it is sent");
    assert_eq!((failed.outcome, failed.status), (Some(WaitOutcome::Error), Status::Error), "{failed:?}");
    let reason = failed.reason.expect("it says why");
    assert!(reason.contains("no provider zai") && reason.contains("`providers` in config.json"), "{reason}");
    assert!(timeline(&client, &agent).await.len() > before);
    let set = SetAgentMode { agent_id: (&agent).into(), mode: Mode::Plan };
    client.set_agent_mode(set).await.expect("what is remembered of it can be changed");
    daemon.shutdown().await;
    shop.config.providers = variants;
    let (_daemon, client) = shop.daemon().await;
    let done = client.send_agent_prompt(SendAgentPrompt::new(&agent, "back")).await.expect("it is sent");
    assert_eq!(done.last_message.as_deref(), Some("glm plan all all"), "{done:?}");
    shop.lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_asked_for_once() {
    let shop = Shop::new();
    let notes = shop.lab.path("notes");
    let shop = shop.variant("zai", json!({ "model": "own", "env": { "NOTES": notes } }));
    let shop = shop.variant("mute", json!({ "env": { "MUTE": "1" } }));
    let (_daemon, client) = shop.daemon().await;
    let ask = || client.list_models(ListModels::of("zai/glm"));
    let (one, other) = tokio::join!(ask(), ask());
    let (one, other, later) = (one.expect("a list"), other.expect("a list"), ask().await.expect("a list"));
    assert_eq!((&one, &one), (&other, &later));
    let names: Vec<_> = one.models.iter().map(|model| format!("{}/{}", model.provider, model.model)).collect();
    assert_eq!(names, ["zai/own", "zai/glm", "zai/flat", "zai/wide[1m]"]);
    assert_eq!(one.models[1].thinking, ["low", "high"]);
    let [source] = &one.providers[..] else { panic!("one provider: {one:?}") };
    assert!(source.provider == "zai" && source.fetched_at.is_some() && source.reason.is_none(), "{source:?}");
    assert_eq!(std::fs::read_to_string(notes).expect("it was asked"), "models\n");
    let mute = client.list_models(ListModels::of("mute")).await.expect_err("it says nothing");
    assert_eq!(mute.code, Code::Unavailable);
    assert!(mute.message.starts_with("mute does not say its models"), "{mute:?}");
    let all = client.list_models(ListModels::default()).await.expect("a list");
    let find = |name: &str| all.providers.iter().find(|source| source.provider == name);
    assert_eq!((find("zai"), find("shell")), (Some(source), None), "shell has none");
    assert_eq!(all.models.iter().filter(|model| model.provider == "zai").count(), 4, "{all:?}");
    let reason = find("mute").and_then(|source| source.reason.as_ref());
    assert!(reason.is_some_and(|reason| reason.contains("does not say")), "{all:?}");
    shop.lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_hangs_keeps_nobody_else_waiting() {
    let shop = Shop::new();
    let gates = ["models", "version"].map(|name| shop.lab.work().join(name));
    shop.lab.fifo("models");
    shop.lab.fifo("version");
    let shop = shop.variant("zai", json!({}));
    let shop = shop.variant("hung", json!({ "env": { "HANGS": "models", "GATE": gates[0] } }));
    let shop = shop.variant("slow", json!({ "env": { "HANGS": "version", "GATE": gates[1] } }));
    let (_daemon, client) = shop.daemon().await;
    let hung = {
        let client = client.clone();
        tokio::spawn(async move { client.list_models(ListModels::of("hung")).await })
    };
    assert_eq!(client.list_models(ListModels::of("zai")).await.expect("a list").models.len(), 3);
    let (models, listed) = tokio::join!(client.list_models(ListModels::default()), providers(&client));
    let models = models.expect("a list");
    assert!(!hung.is_finished(), "it waits still");
    assert_eq!(models.models.iter().filter(|model| model.provider == "zai").count(), 3, "{models:?}");
    let hanging = models.providers.iter().find(|source| source.provider == "hung").expect("it is there");
    assert!(hanging.reason.as_ref().is_some_and(|reason| reason.contains("has not answered for 5 s")), "{hanging:?}");
    let find = |name: &str| listed.iter().find(|one| one.name == name).expect("it is there");
    assert!(find("zai").available && find("hung").available, "{listed:?}");
    let slow = find("slow").reason.as_ref();
    assert!(slow.is_some_and(|reason| reason.contains("has not answered")) && !find("slow").available, "{listed:?}");
    for gate in gates {
        tokio::task::spawn_blocking(move || std::fs::write(gate, "go")).await.expect("no panic").expect("it is read");
    }
    assert_eq!(hung.await.expect("no panic").expect("a list").models.len(), 3);
    shop.lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_does_not_list_is_tried_with_a_notice() {
    let shop = Shop::new().variant("zai", json!({ "model": "own" }));
    let (_daemon, client) = shop.daemon().await;
    let said = async |task: CreateAgent| {
        let done = client.create_agent(task).await.expect("it starts");
        assert_eq!(done.outcome, Some(WaitOutcome::Completed), "{done:?}");
        let entries = timeline(&client, &done.agent_id).await;
        notices(&entries).join("\n")
    };
    assert_eq!(said(shop.task("zai/odd")).await, "", "nobody has asked yet, and nobody is made to wait for it");
    client.list_models(ListModels::of("zai")).await.expect("a list");
    for fine in ["zai", "zai/own", "zai/glm", "zai/wide", "zai/wide[1m]", "zai/flat[1m]"] {
        assert_eq!(said(shop.task(fine)).await, "", "{fine}");
    }
    let thinks = |provider: &str, level: &str| CreateAgent { thinking: Some(level.to_owned()), ..shop.task(provider) };
    assert_eq!(said(thinks("zai/glm", "high")).await, "");
    let odd = [
        said(shop.task("zai/odd")).await,
        said(thinks("zai/glm", "medium")).await,
        said(thinks("zai/flat", "low")).await,
    ];
    insta::assert_snapshot!(odd.join("\n"), @"
    zai does not list the model `odd`, and is asked for it all the same; `paseo provider models zai` shows what it lists
    the model `glm` of zai does not list the thinking `medium`: it lists low, high
    the model `flat` of zai does not list the thinking `low`: it lists none
    ");
    let agent = client.create_agent(shop.task("zai")).await.expect("it starts").agent_id;
    let update =
        UpdateAgent { agent_id: (&agent).into(), title: None, labels: [].into(), model: Some("odder".to_owned()) };
    client.update_agent(update).await.expect("it is changed");
    assert!(notices(&timeline(&client, &agent).await).iter().any(|notice| notice.contains("`odder`")));
    shop.lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_that_cannot_be_one_keeps_an_embedded_daemon_from_starting() {
    let mut shop = Shop::new();
    shop.config.providers.insert("zai".to_owned(), Variant { extends: "shell".to_owned(), ..Variant::default() });
    let refused = Daemon::start(shop.config.clone()).await.err().expect("it is refused");
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(refused.message.starts_with("providers.zai: `extends`"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_program_works_as_a_variant_with_its_own_path_and_endpoint() {
    let Some(program) = claude_program() else { return };
    let mut stage = Stage::new(Kind::Claude { program: program.clone() }).await;
    // Where all agents look there is no such program, and nobody who answers.
    let nowhere = [("PATH", "/usr/bin:/bin"), ("ANTHROPIC_BASE_URL", "http://127.0.0.1:1"), ("ANTHROPIC_API_KEY", "")];
    stage.lab.set_env(nowhere.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut config = stage.lab.config();
    let path = std::path::absolute(program).expect("a path").display().to_string();
    let variant = json!({
        "extends": "claude", "program": path, "model": "haiku", "mode": "auto",
        "env": {
            "ANTHROPIC_BASE_URL": stage.model.messages().base_url(), "ANTHROPIC_API_KEY": "sk-ant-of-a-variant",
            "PATH": std::env::var("PATH").expect("a path"),
        },
    });
    config.providers.insert("zai".to_owned(), serde_json::from_value(variant).expect("a variant"));
    let _daemon = Daemon::start(config).await.expect("a daemon");
    let client = stage.lab.client();
    let task =
        CreateAgent { provider: "zai".to_owned(), ..stage.asking("[[write: made.txt by a variant]] [[text: made]]") };
    let done = client.create_agent(task).await.expect("it starts");
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("made")), "{done:?}");
    assert!(stage.file("made.txt").exists(), "mode `auto` does not ask");
    assert!(stage.model.messages().requests().iter().any(|request| request.model.contains("haiku")));
    kill_agent(&client, &done.agent_id).await;
    let again =
        client.send_agent_prompt(SendAgentPrompt::new(&done.agent_id, "[[text: again]]")).await.expect("it is sent");
    assert_eq!(again.last_message.as_deref(), Some("again"), "{again:?}");
    stage.end(&client).await;
}
