//! How the program is started.

use std::collections::BTreeMap;

use paseo_sdk::model::Mode;
use paseo_sdk::provider::claude::Claude;
use paseo_sdk::provider::{LaunchSpec, Provider as _, Surroundings, ToolServer};

fn spec() -> LaunchSpec {
    LaunchSpec {
        agent_id: "a1".parse().expect("this is an id"),
        cwd: "/work".to_owned(),
        model: None,
        mode: Mode::Default,
        thinking: None,
        system_prompt: Some("never in the arguments".to_owned()),
        trusted: true,
        mcp_config: None,
        mcp_servers: BTreeMap::new(),
        tools: None,
        git_dirs: Vec::new(),
        trees: Vec::new(),
        rules: Vec::new(),
    }
}

#[test]
fn the_arguments_follow_from_what_is_asked_for() {
    let fresh = Claude.launch(&spec(), None);
    let tools = ToolServer { program: "/bin/paseo".to_owned(), args: ["__bridge", "mcp"].map(str::to_owned).to_vec() };
    let rich = LaunchSpec {
        tools: Some(tools.clone()),
        model: Some("opus".to_owned()),
        mode: Mode::Auto,
        thinking: Some("high".to_owned()),
        mcp_config: Some("/home/agents/a1/mcp.json".to_owned()),
        rules: ["Bash(npm test)", "WebFetch"].map(str::to_owned).to_vec(),
        ..spec()
    };
    let resumed = Claude.launch(&rich, Some("0a8d9a59-7cb9-4d1c-b336-754e7a6aa646"));
    let native = Mode::Native { provider: "claude".to_owned(), name: "dontAsk".to_owned() };
    let stranger = Claude.launch(&LaunchSpec { trusted: false, mode: native, tools: Some(tools), ..spec() }, None);
    let shown = [&fresh, &resumed, &stranger].map(|launch| launch.args[BASE..].join(" "));
    insta::assert_snapshot!(fresh.args[..BASE].join(" "), @"-p --input-format stream-json --output-format stream-json --verbose --include-partial-messages --replay-user-messages --permission-prompt-tool stdio");
    insta::assert_snapshot!(shown.join("\n"), @r#"
    --permission-mode default --model default
    --allowedTools mcp__paseo Bash(npm test) WebFetch --mcp-config /home/agents/a1/mcp.json {"mcpServers":{"paseo":{"type":"stdio","command":"/bin/paseo","args":["__bridge","mcp"],"timeout":2147483647}}} --permission-mode acceptEdits --model opus --effort high --resume 0a8d9a59-7cb9-4d1c-b336-754e7a6aa646
    --allowedTools mcp__paseo --mcp-config {"mcpServers":{"paseo":{"type":"stdio","command":"/bin/paseo","args":["__bridge","mcp"],"timeout":2147483647}}} --permission-mode dontAsk --model default --setting-sources user --strict-mcp-config
    "#);
    let names: Vec<_> = fresh.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    insta::assert_snapshot!(names.join("\n"), @"
    CLAUDE_CODE_EAGER_FLUSH=1
    CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS=1
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
    MCP_CONNECTION_NONBLOCKING=0
    DISABLE_AUTOUPDATER=1
    DISABLE_TELEMETRY=1
    DISABLE_ERROR_REPORTING=1
    ");
}

/// How many arguments are the same always.
const BASE: usize = 10;

#[test]
fn what_it_would_refuse_is_refused_before() {
    let (plain, sandbox) = (BTreeMap::new(), [("IS_SANDBOX".to_owned(), "1".to_owned())].into());
    let free = LaunchSpec { mode: Mode::FullAccess, ..spec() };
    let check = |spec: &LaunchSpec, root, env| Claude.check(spec, &Surroundings { root, env });
    assert_eq!(check(&free, false, &plain), Ok(()));
    assert_eq!(check(&free, true, &sandbox), Ok(()));
    assert_eq!(check(&spec(), true, &plain), Ok(()));
    let unheard = [("IS_SANDBOX".to_owned(), "yes".to_owned())].into();
    assert!(check(&free, true, &unheard).is_err(), "the program knows no other value");
    let refused = check(&free, true, &plain).expect_err("as root it does not");
    assert_eq!((refused.field, refused.hint.contains("IS_SANDBOX=1")), ("mode", true));
    let deep = LaunchSpec { thinking: Some("deeply".to_owned()), ..spec() };
    let refused = check(&deep, false, &plain).expect_err("there is no such effort");
    assert_eq!((refused.field, refused.hint.contains("high")), ("thinking", true));
}
