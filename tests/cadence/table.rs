//! The next times of crontabs, beside those that another implementation found.

use paseo_sdk::cadence::Cadence;

use super::{time, times};

#[test]
fn the_next_times_are_those_of_another_implementation() {
    let rows = include_str!("table.tsv").lines();
    let mut compared = 0;
    for row in rows {
        let [crontab, zone, start, expected @ ..] = &row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not a row: {row}");
        };
        let cadence = Cadence::cron(crontab, zone).expect("this is a cadence");
        let expected: Vec<_> = expected.iter().map(|text| time(text)).collect();
        let found: Vec<_> = times(&cadence, time(start)).take(expected.len()).collect();
        assert_eq!(found, expected, "{row}");
        compared += found.len();
    }
    assert_eq!(compared, 2_000);
}
