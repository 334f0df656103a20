//! Hints as models read them: who has tools is not sent to the command line.

/// Names the tools in place of the commands that a hint names.
///
/// ```
/// use paseo_daemon::mcp::hint::for_models;
///
/// assert_eq!(for_models("`paseo permit ls` shows them; wait for the answers"), "`list_pending_permissions` shows them; wait for the answers");
/// ```
#[must_use]
pub fn for_models(hint: &str) -> String {
    let mut said = String::new();
    let mut rest = hint;
    // Texts between backticks are at every second place.
    while let Some((before, after)) = rest.split_once('`') {
        let Some((code, after)) = after.split_once('`') else { break };
        said.push_str(before);
        match tool(code) {
            Some(tool) => said.push_str(&tool),
            None => said.push_str(&format!("`{code}`")),
        }
        rest = after;
    }
    said + rest
}

/// Says what a model does in place of a command; none where there is no tool for it.
fn tool(command: &str) -> Option<String> {
    Some(match command.strip_prefix("paseo ")? {
        "ls -a -g" => "`list_agents` with `includeArchived`".to_owned(),
        "permit ls" => "`list_pending_permissions`".to_owned(),
        "worktree ls" => "`list_worktrees`".to_owned(),
        "worktree ls -g" => "`list_worktrees` with `all`".to_owned(),
        "worktree restore" => "`restore_worktree`".to_owned(),
        "schedule ls" => "`list_schedules`".to_owned(),
        "schedule update" => "`update_schedule`".to_owned(),
        "daemon status" => "`get_daemon`".to_owned(),
        // Started by an agent, the daemon would have the agent's environment, and its sandbox.
        "daemon start" => "your user's `paseo daemon start`".to_owned(),
        other => format!("`list_models` with `provider: {}`", other.strip_prefix("provider models ")?),
    })
}
