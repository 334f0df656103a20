//! What is remembered of what programs have said.

use std::sync::atomic::{AtomicI64, Ordering};

use paseo_daemon::cache::Cache;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::model::Timestamp;
use tokio::sync::oneshot;

/// A clock that each test sets for itself, as each is a thread of its own.
fn clock() -> Timestamp {
    Timestamp(TIME.with(|time| time.load(Ordering::Relaxed)))
}

fn set_clock(time: i64) {
    TIME.with(|clock| clock.store(time, Ordering::Relaxed));
}

thread_local! {
    static TIME: AtomicI64 = const { AtomicI64::new(0) };
}

/// An answer that is given when the test says so.
fn question() -> (oneshot::Sender<Result<u8, ApiError>>, impl Future<Output = Result<u8, ApiError>> + Send + 'static) {
    let (answer, asked) = oneshot::channel();
    (answer, async move { asked.await.expect("the test answers") })
}

fn nobody() -> std::future::Ready<Result<u8, ApiError>> {
    panic!("nobody is asked");
}

fn refusal() -> ApiError {
    ApiError::new(Code::Unavailable, "it does not start")
}

#[tokio::test]
async fn those_who_ask_at_once_share_one_answer_and_all_later_ones_have_it() {
    let cache = Cache::new(clock);
    let (answer, asked) = question();
    let first = cache.ask("one", || asked);
    let second = cache.ask("one", nobody);
    drop(first);
    let other = cache.ask("two", || async { Ok(2) });
    assert_eq!(other.answer().await.expect("it answers").value, 2);
    assert_eq!(cache.known("one"), None);
    set_clock(7);
    answer.send(Ok(1)).expect("it is asked, though the first one waits no more");
    let known = second.answer().await.expect("it answers");
    assert_eq!((known.value, known.at), (1, Timestamp(7)));
    assert_eq!(cache.recall("one", 100, nobody), Some(known));
}

#[tokio::test]
async fn what_is_old_is_answered_at_once_and_asked_for_beside() {
    let cache = Cache::new(clock);
    assert_eq!(cache.recall("one", 100, nobody), None, "nothing is known, and whoever waits asks");
    cache.ask("one", || async { Ok(1) }).answer().await.expect("it answers");
    set_clock(99);
    assert_eq!(cache.recall("one", 100, nobody).map(|known| known.value), Some(1));
    set_clock(100);
    let (answer, asked) = question();
    assert_eq!(cache.recall("one", 100, || asked).map(|known| known.value), Some(1));
    let joined = cache.ask("one", nobody);
    answer.send(Ok(2)).expect("it is asked");
    assert_eq!(joined.answer().await.expect("it answers").value, 2);
    assert_eq!(cache.recall("one", 100, nobody).map(|known| (known.value, known.at)), Some((2, Timestamp(100))));
}

#[tokio::test]
async fn an_answer_stays_when_there_is_no_newer_one_and_says_why() {
    let cache = Cache::new(clock);
    cache.ask("one", || async { Err::<u8, _>(refusal()) }).answer().await.expect_err("it fails");
    assert_eq!(cache.known("one"), None);
    cache.ask("one", || async { Ok(1) }).answer().await.expect("it is asked again");
    cache.ask("one", || async { Err(refusal()) }).answer().await.expect_err("it fails");
    let known = cache.recall("one", 100, nobody).expect("it is known");
    assert_eq!((known.value, known.failed), (1, Some(refusal())));
}

#[tokio::test]
async fn an_asking_that_panics_is_over() {
    let cache = Cache::new(clock);
    cache.ask("one", || async { panic!("a bug") }).answer().await.expect_err("there is no answer");
    assert_eq!(cache.ask("one", || async { Ok(1) }).answer().await.expect("it answers").value, 1);
}

#[tokio::test]
async fn nobody_is_asked_any_more_when_it_is_dropped() {
    let cache = Cache::new(clock);
    let (answer, asked) = question();
    let asking = cache.ask("one", || asked);
    drop(cache);
    asking.answer().await.expect_err("there is no answer");
    assert!(answer.is_closed());
}
