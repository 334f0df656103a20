//! Placeholder.

use super::{Launch, LaunchSpec, Program, Provider, Record, Session, Step, Tell, TellId, Traits, Unsupported};

/// A script for the user's shell.
pub struct Shell;

impl Provider for Shell {
    fn name(&self) -> &'static str {
        "shell"
    }

    fn traits(&self) -> &'static Traits {
        const {
            &Traits {
                description: "scripts for your shell",
                modes: &[],
                resumes: true,
                images: false,
                steers: false,
                linger: 0,
            }
        }
    }

    fn launch(&self, _: &LaunchSpec, _: Option<&str>) -> Launch {
        Launch { program: Program::Helper, args: Vec::new(), env: Vec::new() }
    }

    fn session(&self, _: &LaunchSpec) -> Box<dyn Session> {
        Box::new(Transcript)
    }
}

struct Transcript;

impl Session for Transcript {
    fn read(&mut self, _: &Record) -> Vec<Step> {
        Vec::new()
    }

    fn phrase(&self, _: &TellId, _: &Tell) -> Result<String, Unsupported> {
        Ok(String::new())
    }

    fn summary(&self) -> String {
        String::new()
    }
}
