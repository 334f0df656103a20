//! What of a hook's output is kept.

use std::fs;

use super::{Result, Site, failed};

#[tokio::test]
async fn both_outputs_are_in_the_log_in_order_and_commands_begin_a_line() -> Result {
    let site = Site::new()?;
    let script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf 'no end'";
    assert_eq!(site.run(&site.order(&[script, "printf x"])).await?.message(), None);
    let expected = "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\nno end\n$ printf x\nx";
    assert_eq!(site.log()?, format!("$ {script}\n{expected}"));
    Ok(())
}

#[tokio::test]
async fn the_beginning_of_the_log_is_there_while_the_command_runs() -> Result {
    let site = Site::new()?;
    site.pipes(&["up", "go"])?;
    let script = "echo begun; yes | head -c 400000; echo >up; read -r line <go; echo over";
    site.start(&site.order(&[script])).await?;
    site.hear("up").await?;
    // No more than what a pipe holds is still on its way.
    let log = site.log()?;
    assert!(log.starts_with(&format!("$ {script}\nbegun\ny\n")) && log.len() > 200_000, "{} bytes", log.len());
    site.tell("go", "go\n").await?;
    assert_eq!(site.ended().await?.message(), None);
    assert!(site.log()?.ends_with("y\nover\n"));
    Ok(())
}

#[tokio::test]
async fn of_a_flood_the_beginning_and_the_end_are_kept() -> Result {
    let site = Site::new()?;
    let script = "seq 1 2000000; printf last";
    assert_eq!(site.run(&site.order(&[script])).await?.message(), None);
    let whole = format!("$ {script}\n{}last", (1..=2_000_000).map(|number| format!("{number}\n")).collect::<String>());
    let (head, tail) = (&whole[..1 << 20], &whole[whole.len() - (64 << 10)..]);
    let left_out = whole.len() - head.len() - tail.len();
    assert!(!head.ends_with('\n'), "so that the line between them has to begin one");
    let log = site.log()?;
    assert!(log == format!("{head}\n[{left_out} bytes are left out here]\n{tail}"), "{} bytes", log.len());
    Ok(())
}

#[tokio::test]
async fn what_has_room_at_both_ends_is_kept_whole() -> Result {
    let site = Site::new()?;
    let script = "printf %01110000d 7";
    assert_eq!(site.run(&site.order(&[script])).await?.message(), None);
    let log = site.log()?;
    assert!(log == format!("$ {script}\n{}7", "0".repeat(1_109_999)), "{} bytes", log.len());
    Ok(())
}

#[tokio::test]
async fn a_log_that_cannot_be_written_keeps_no_command_from_running_and_is_said() -> Result {
    let site = Site::new()?;
    let mut order = site.order(&["echo one >>ran", "echo two >>ran"]);
    for (log, reason) in [(site.work("a/log"), "no such file"), ("/dev/full".into(), "no space left on device")] {
        order.log = log;
        let ended = site.run(&order).await?;
        assert_eq!(ended.failure, None);
        assert_eq!(ended.message(), Some(format!("its log could not be written: {reason}")));
        assert_eq!(fs::read_to_string(site.work("ran"))?, "one\ntwo\n");
        fs::remove_file(site.work("ran"))?;
    }
    order.commands = vec!["echo why; exit 1".to_owned()];
    let message = failed(&site.run(&order).await?)?;
    let expected =
        "`echo why; exit 1` failed with exit code 1: why; its log could not be written: no space left on device";
    assert_eq!(message, expected);
    Ok(())
}

#[tokio::test]
async fn of_a_log_whose_disk_was_full_what_is_missing_is_counted() -> Result {
    let site = Site::new()?;
    // A limit on the size of files, which the command takes away when it has outgrown it.
    let limit = |size: &str| format!("prlimit --fsize={size}: --pid=$PPID");
    let script = format!("{}; seq 1 99990; {}; seq 99991 100000", limit("8192"), limit("unlimited"));
    let ended = site.run(&site.order(&[&script])).await?;
    assert_eq!(ended.message(), Some("its log could not be written: file too large".to_owned()));
    let whole = format!("$ {script}\n{}", (1..=100_000).map(|number| format!("{number}\n")).collect::<String>());
    let (head, tail) = (&whole[..8192], &whole[whole.len() - (64 << 10)..]);
    let left_out = whole.len() - head.len() - tail.len();
    let line_end = if head.ends_with('\n') { "" } else { "\n" };
    assert_eq!(site.log()?, format!("{head}{line_end}[{left_out} bytes are left out here]\n{tail}"));
    Ok(())
}
