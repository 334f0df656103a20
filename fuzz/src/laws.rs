//! The laws of machines, checked for one machine and one script.

use std::fmt::Debug;

use paseo_sdk::machine::Machine;
use paseo_sdk::model::Timestamp;

/// One thing that happens to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<I> {
    /// It is told something.
    Tell(I),
    /// It is told that time has passed.
    Expire,
    /// It is asked for everything that it wants done; so it is after the last step too.
    Poll,
}

/// A law that a machine broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It refused an input, and changed all the same.
    #[error("refused {input} with {refusal}, and changed\nfrom {before}\nto   {after}")]
    RefusedAndChanged {
        /// The input.
        input: String,
        /// The refusal.
        refusal: String,
        /// The machine before.
        before: String,
        /// The machine after.
        after: String,
    },
    /// It was told the time, and something is still due.
    #[error("due at {due} after it was told that it is {now}: {machine}")]
    StillDue {
        /// When it is due.
        due: Timestamp,
        /// What it was told.
        now: Timestamp,
        /// The machine.
        machine: String,
    },
    /// Its clone was told the same, and did something else.
    #[error("did two things after the same inputs\none   {one}\nother {other}")]
    Undecided {
        /// What one of them did.
        one: String,
        /// What the other did.
        other: String,
    },
    /// It always wants something more.
    #[error("asked for {MOST_OUTPUTS} things in a row, the last was {last}")]
    Endless {
        /// What it wanted last.
        last: String,
    },
}

/// How many outputs in a row a machine may have.
pub const MOST_OUTPUTS: usize = 50_000;

/// Checks the four laws while `machine` lives through `script`: each step comes so many milliseconds after the one
/// before; the clock of a computer may also be set back.
///
/// # Errors
///
/// The first law that it breaks.
pub fn laws<M>(mut machine: M, script: Vec<(i64, Step<M::Input>)>) -> Result<(), Broken>
where
    M: Machine + Clone + Debug,
    M::Input: Clone + Debug,
    M::Output: Debug,
    M::Refusal: Debug,
{
    let mut twin = machine.clone();
    let mut now = Timestamp(BEGINNING);
    for (later, step) in script {
        now = now.plus(later);
        match step {
            Step::Tell(input) => {
                let before = machine.clone();
                let answer = machine.handle(now, input.clone());
                same(&answer, &twin.handle(now, input.clone()))?;
                if let Err(refusal) = answer {
                    unchanged(&before, &machine, &input, &refusal)?;
                }
            }
            Step::Expire => {
                machine.expire(now);
                twin.expire(now);
                if let Some(due) = machine.deadline().filter(|due| *due <= now) {
                    return Err(Broken::StillDue { due, now, machine: format!("{machine:?}") });
                }
            }
            Step::Poll => drain(&mut machine, &mut twin)?,
        }
        same(&machine.deadline(), &twin.deadline())?;
    }
    drain(&mut machine, &mut twin)
}

fn unchanged(before: &impl Debug, after: &impl Debug, input: &impl Debug, refusal: &impl Debug) -> Result<(), Broken> {
    let (before, after) = (format!("{before:?}"), format!("{after:?}"));
    if before == after {
        return Ok(());
    }
    Err(Broken::RefusedAndChanged { input: format!("{input:?}"), refusal: format!("{refusal:?}"), before, after })
}

fn drain<M: Machine<Output: Debug>>(machine: &mut M, twin: &mut M) -> Result<(), Broken> {
    let mut last = String::new();
    for _ in 0..MOST_OUTPUTS {
        let (one, other) = (machine.poll(), twin.poll());
        same(&one, &other)?;
        match one {
            Some(output) => last = format!("{output:?}"),
            None => return Ok(()),
        }
    }
    Err(Broken::Endless { last })
}

fn same(one: &impl Debug, other: &impl Debug) -> Result<(), Broken> {
    let (one, other) = (format!("{one:?}"), format!("{other:?}"));
    if one == other { Ok(()) } else { Err(Broken::Undecided { one, other }) }
}

/// Some time in November 2023; far from zero, so that a clock set back is a time as well.
const BEGINNING: i64 = 1_700_000_000_000;
