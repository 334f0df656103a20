//! As many lives as somebody asks for, each from a seed of its own.
//!
//! ```text
//! PASEO_HISTORIES=100000 PASEO_SEED=7 cargo test --release -p paseo-tests --test all agent::histories -- --nocapture
//! ```

use std::cell::Cell;
use std::num::NonZero;
use std::time::Instant;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use super::program::Kind;
use super::restart::{live, moments};
use super::world::Tally;

#[test]
fn every_history_comes_to_its_end_as_promised() {
    let (count, first) = (number("PASEO_HISTORIES", 1_000), number("PASEO_SEED", 1));
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let tally = std::thread::scope(|scope| {
        let share = |thread| move || (first..first + count).skip(thread).step_by(threads).map(history).sum::<Tally>();
        let shares: Vec<_> = (0..threads).map(|thread| scope.spawn(share(thread))).collect();
        let join = |share: std::thread::ScopedJoinHandle<'_, Tally>| share.join();
        shares.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    });
    let tally: Tally = match tally {
        Ok(shares) => shares.into_iter().sum(),
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let seconds = started.elapsed().as_secs_f64();
    let Tally { events, deaths, outages } = tally;
    let speed = events as f64 / seconds;
    println!(
        "{count} histories, {events} events, {deaths} deaths, {outages} losses of power, \
         in {seconds:.1} s ({speed:.0} events/s)"
    );
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("it is a number"))
}

fn history(seed: u64) -> Tally {
    let kind = [Kind::Shell, Kind::Talk, Kind::Shy][usize::try_from(seed % 3).unwrap_or(0)];
    let power_fails = seed.is_multiple_of(2);
    let (cases, max_shrink_iters) = (1, 10_000);
    let config = ProptestConfig { cases, max_shrink_iters, failure_persistence: None, ..ProptestConfig::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let tally = Cell::new(Tally::default());
    let lived = runner.run(&(any::<u8>(), moments()), |(luck, moments)| {
        tally.set(live(kind, power_fails, luck, &moments.0));
        Ok(())
    });
    match lived {
        Ok(()) => tally.get(),
        Err(TestError::Fail(reason, (luck, moments))) => panic!(
            "history {seed}: {reason}\n\
             at least: live(Kind::{kind:?}, {power_fails}, {luck}, {moments:?})\n\
             again: PASEO_HISTORIES=1 PASEO_SEED={seed} cargo test -p paseo-tests --test all agent::histories"
        ),
        Err(TestError::Abort(reason)) => panic!("history {seed}: {reason}"),
    }
}
