//! Agents at work while their daemon is killed: at every fault point, and at random instants. Whatever was killed when,
//! every watcher has seen the timeline, every prompt has run once, every question could be answered, and nothing is left.
//!
//! `PASEO_TORTURE=kills:seed` makes them many, or those of another run: with `PASEO_TORTURE=100:7`, a hundred random ones,
//! and five passages of each point. `PASEO_FAULT_POINT=name` chooses one point.

pub(crate) mod keeper;
mod story;

use std::time::Duration;

use paseo_daemon::fault::Point;
use tokio::task::JoinSet;

use self::keeper::{Doom, Keeper};
use self::story::Story;
use crate::lab::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_every_fault_point_costs_nothing() {
    let wanted = std::env::var("PASEO_FAULT_POINT").ok();
    let passages = if std::env::var_os("PASEO_TORTURE").is_some() { PASSAGES } else { 1 };
    // Agents pass none of a worktree's or a schedule's, and report to nobody; those have stories of their own.
    let elsewhere = |point: &Point| {
        let name = point.name();
        let others = ["worktree-", "schedule-", "run-", "report-"];
        others.iter().any(|other| name.starts_with(other))
    };
    let points = Point::ALL.iter().filter(|point| !elsewhere(point));
    let points = points.filter(|point| wanted.as_ref().is_none_or(|wanted| wanted == point.name()));
    let mut stories = JoinSet::new();
    let mut failed = Vec::new();
    for (point, nth) in points.flat_map(|point| (1..=passages).map(move |nth| (*point, nth))) {
        if stories.len() == TOGETHER {
            failed.extend(stories.join_next().await.and_then(|story| story.expect("what fails is caught within")));
        }
        stories.spawn(async move {
            // In a task of its own, so that a failed story leaves the others alone.
            println!("{}, passage {nth}", point.name());
            let told = tokio::spawn(killed_at(point, nth)).await;
            println!("{}, passage {nth}: {}", point.name(), if told.is_ok() { "nothing lost" } else { "FAILED" });
            told.err().map(|panic| format!("{}, passage {nth}: {panic}", point.name()))
        });
    }
    while let Some(story) = stories.join_next().await {
        failed.extend(story.expect("what fails is caught within"));
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A story in which the second daemon is killed when it passes a fault point for the nth time.
async fn killed_at(point: Point, nth: u32) {
    let mut story = Story::new(Lab::new(), point as u64 + u64::from(nth) * 1000);
    let first = story.lab.process();
    story.begin().await;
    first.kill();
    if matches!(point, Point::OrphansEnded | Point::JournalEnded) {
        story.kill_a_shim().await;
    }
    if point == Point::DamageCopied {
        story.damage();
    }
    let keeper = Keeper::start(&story.lab, vec![Doom::At(Some(point), nth), Doom::Never]);
    if point == Point::Carried {
        story.fill_a_journal().await;
    }
    story.work(10).await;
    story.come_to_rest().await;
    let deaths = keeper.kill().await;
    assert!(deaths == 1 || nth > 1, "the point was never reached");
    story.judge(point == Point::DamageCopied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_again_and_again_loses_nothing() {
    let chosen = std::env::var("PASEO_TORTURE").unwrap_or_default();
    let (kills, seed) = chosen.split_once(':').unwrap_or((&chosen, ""));
    let (kills, seed) = (kills.parse().unwrap_or(KILLS), seed.parse().unwrap_or(1));
    let mut story = Story::new(Lab::new(), seed);
    let first = story.lab.process();
    story.begin().await;
    first.kill();
    let dooms = (0..kills).map(|number| match number % 2 {
        0 => Doom::After(Duration::from_millis(story.chance.below(300))),
        _ => Doom::At(None, 1 + story.chance.below(150) as u32),
    });
    let dooms: Vec<_> = dooms.chain([Doom::Never]).collect();
    let mut keeper = Keeper::start(&story.lab, dooms);
    while !keeper.is_at_the_last() {
        story.work(5).await;
        story.same_processes().await;
    }
    story.come_to_rest().await;
    assert_eq!(keeper.kill().await, kills);
    let (prompts, entries) = story.judge(false).await;
    println!("{kills} kills with seed {seed}: {prompts} prompts, {entries} entries, nothing lost, nothing twice");
}

/// How many stories are told at once.
const TOGETHER: usize = 4;

/// How many passages of each point are tried when much is to be tried.
const PASSAGES: u32 = 5;

/// How often the daemon is killed when nobody says how often.
const KILLS: usize = 12;
