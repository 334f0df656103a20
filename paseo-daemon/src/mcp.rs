//! The tool server: every operation but watches as a tool of the Model Context Protocol, whatever carries its messages.

pub mod bound;
pub mod hint;
pub(crate) mod message;
mod outcome;
pub mod text;

use std::future::Future;
use std::sync::Arc;

use paseo_sdk::catalogue::{OPERATIONS, WatchAgents, tool};
use paseo_sdk::error::ApiError;
use paseo_sdk::operation::{Effect, Operation, Tool};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, ListToolsResult,
    MetaObject, PaginatedRequestParams, ServerCapabilities, ServerConfig, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Map, Value, json};

/// How calls are made: what carries the messages knows who calls.
pub trait Way: Send + Sync + 'static {
    /// Carries out a call.
    fn call(&self, call: Call) -> impl Future<Output = Result<Value, ApiError>> + Send;
}

/// A call of a tool that there is.
#[derive(Debug)]
pub struct Call {
    /// The operation.
    pub operation: &'static str,
    /// Its arguments, as they came.
    pub arguments: Map<String, Value>,
    /// What came with them. When its `ct` is cancelled, the call is dropped.
    pub context: RequestContext<RoleServer>,
}

/// The server.
#[derive(Debug)]
pub struct Tools<W> {
    way: W,
}

impl<W: Way> Tools<W> {
    /// Makes a server whose calls go this way.
    #[must_use]
    pub fn over(way: W) -> Tools<W> {
        Tools { way }
    }
}

impl<W: Way> ServerHandler for Tools<W> {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("paseo", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(listed().collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let named = OPERATIONS.iter().find(|(name, _)| *name == request.name && is_tool(name));
        let Some(&(operation, _)) = named else {
            let name: String = request.name.chars().take(80).collect();
            return Err(ErrorData::invalid_params(format!("no tool `{}`", name.escape_debug()), None));
        };
        let cancelled = context.ct.clone();
        let arguments = request.arguments.unwrap_or_default();
        // All of them that shortening an answer needs; others may be large.
        let from = arguments.iter().filter(|(name, _)| *name == "after").map(|(name, at)| (name.clone(), at.clone()));
        let from = from.collect();
        let call = Call { operation, arguments, context };
        let answer = tokio::select! {
            biased;
            // Nobody reads what is answered now.
            () = cancelled.cancelled() => return Err(ErrorData::internal_error("the call was cancelled", None)),
            answer = self.way.call(call) => answer,
        };
        let result = match answer {
            Ok(answer) => {
                let next = outcome::next(operation, &answer);
                let mut answer = bound::bound(operation, &from, answer);
                if let Some(next) = next {
                    outcome::advise(&mut answer, next);
                }
                let text = bound::text(outcome::say(operation, &answer));
                let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
                result.structured_content = Some(answer);
                result
            }
            Err(error) => refused(&error),
        };
        Ok(result.into())
    }
}

/// Describes every tool, one when it is asked for.
pub(crate) fn listed() -> impl Iterator<Item = rmcp::model::Tool> {
    OPERATIONS.iter().filter(|(name, _)| is_tool(name)).filter_map(|(name, _)| tool(name)).map(shown)
}

/// Shows an error to a model. It is not structured content, which some clients hold against the schema of answers.
fn refused(error: &ApiError) -> CallToolResult {
    let mut error = error.clone();
    error.hint = error.hint.map(|hint| hint::for_models(&hint));
    let error = bound::error(json!(error));
    let mut text =
        format!("{}: {}", error["code"].as_str().unwrap_or("internal"), error["message"].as_str().unwrap_or_default());
    for more in ["hint", "details"] {
        if let Some(value) = error.get(more) {
            text.push('\n');
            text.push_str(text::render(&json!({ more: value })).trim_end());
        }
    }
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.meta = Some(MetaObject(Map::from_iter([("paseo/error".to_owned(), error)])));
    result
}

/// Watches need a connection that carries events.
fn is_tool(operation: &str) -> bool {
    operation != WatchAgents::NAME
}

fn shown(tool: Tool) -> rmcp::model::Tool {
    let schema = |schema: Value| match schema {
        Value::Object(schema) => Arc::new(schema),
        _ => unreachable!("requests and answers are objects"),
    };
    let title = title(tool.name);
    let annotations = ToolAnnotations::with_title(title.clone())
        .read_only(tool.effect == Effect::Read)
        .destructive(tool.effect == Effect::Destroy)
        .open_world(false);
    let mut shown = rmcp::model::Tool::new(tool.name, tool.description, schema(tool.input_schema));
    shown.title = Some(title);
    shown.output_schema = Some(schema(bare(tool.output_schema)));
    shown.annotations = Some(annotations);
    shown
}

/// Leaves out of the schema of an answer what its fields mean, which is most of it: clients check answers by it, and show
/// it to no model. Adds the field that only tools have.
fn bare(mut schema: Value) -> Value {
    fn forget(schema: &mut Value, named: bool) {
        match schema {
            Value::Object(fields) => {
                // Among the fields of an answer, one may have this name.
                if !named {
                    fields.remove("description");
                }
                for (key, value) in fields {
                    forget(value, !named && key == "properties");
                }
            }
            Value::Array(choices) => choices.iter_mut().for_each(|choice| forget(choice, false)),
            _ => {}
        }
    }
    forget(&mut schema, false);
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        let what = "What to do now, or how to read what is left out here because it is too long for a tool.";
        fields.insert(outcome::ADVICE.to_owned(), json!({ "type": "string", "description": what }));
    }
    schema
}

/// Returns an operation's name as people read it: `Create worktree`.
fn title(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// What a model is told of all tools together.
const INSTRUCTIONS: &str = "\
paseo supervises AI coding agents on this machine. `create_agent` hands a task to a new agent and returns when it has \
finished, failed or needs a permission, however long that takes; with `background` it returns at once, and \
`wait_for_agent` waits later, for one agent or several. With `background` and `notifyOnFinish` you need not wait: end \
your turn, and a prompt tells you when the agent has finished or needs a permission. To let an agent work apart from \
others, give `create_agent` a `worktree`, or make one with `create_worktree`. When an outcome is `permission`, answer \
with `respond_to_permission` and wait again. An agent may be named by its id, the beginning of its id, or its exact \
title. Waiting again after a cut or a cancelled call loses nothing: the agent goes on by itself. `create_schedule` \
with `every` and `prompt` reminds you in this conversation again and again, also when your turn has ended; delete it \
when it is of no more use.";
