"""Writes `table.tsv`: the next times of crontabs, as another implementation sees them.

It was made once, with Python 3.11 and these; the table is what the tests read:

    pip install croniter==7.0.0 tzdata==2025.2
    PYTHONTZPATH= python tests/cadence/generate.py >tests/cadence/table.tsv

`croniter` steps from local time to local time, on clocks that are never set, and `zoneinfo` says which points in time
these are. `implement_cron_bug` is what crontab(5) says: a day field that begins with `*` is no restriction. Left out are
rows where a local time does not exist or occurs twice, as the two have no opinion on them: `clocks.rs` has those. So are
steps from a day of the week (`1/3`), of which `croniter` thinks otherwise than cron does.
"""

import random
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from croniter import croniter

CRONTABS = """
* * * * *
*/5 * * * *
*/7 * * * *
5/15 * * * *
1-30/7 * * * *
0 * * * *
59 23 * * *
0 0 * * *
30 2 * * *
0 9 * * mon-fri
0 9 * * MON,Wed,fri
15,45 8-18/2 * * 1-5
0 0 * * 0
0 0 * * 7
0 12 * * 5-7
0 12 * * sat-sun
0 12 * * 6,0
0 0 1 * *
0 0 31 * *
0 0 29 2 *
0 0 28-31 * *
0 0 1 1 *
0 0 1 jan,APR,jul,oct *
0 6 */2 * *
0 6 */10 * *
0 6 1-15/3 * *
0 6 20/4 * *
0 0 13 * 5
0 0 1,15 * 1
0 0 1-7 * sun
30 4 1,15 * 5
0 0 31 2 mon
0 0 */2 * mon
0 0 15 * */2
0 0 */28 2 mon
0 0 29 2 */2
*/15 0 29 2,3 tue
0 22 * * 1-5
23 0-20/2 * * *
5 4 * * sun
0 0,12 1 */2 *
0 4 8-14 * *
10-50/20 3,4,5 10-20/5 3-11/4 *
@hourly
@daily
@midnight
@weekly
@monthly
@yearly
@annually
""".strip().splitlines()

ZONES = """
UTC
Europe/Berlin
Europe/London
America/New_York
America/Los_Angeles
America/St_Johns
America/Sao_Paulo
Africa/Cairo
Asia/Kolkata
Asia/Kathmandu
Asia/Tokyo
Australia/Lord_Howe
Australia/Sydney
Pacific/Auckland
Pacific/Chatham
Pacific/Apia
""".split()


def instant(local, zone):
    """The point in time at which clocks show `local`; none when they never do, or twice."""
    times = {local.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc) for fold in (0, 1)}
    if len(times) > 1:
        return None
    return times.pop()


def row(crontab, name, start):
    zone = ZoneInfo(name)
    local = start.astimezone(zone).replace(tzinfo=None)
    if instant(local, zone) is None:
        return None
    steps = croniter(crontab, local, implement_cron_bug=True, max_years_between_matches=60)
    times = [instant(steps.get_next(datetime), zone) for _ in range(5)]
    if None in times:
        return None
    return "\t".join([crontab, name, *(time.strftime("%Y-%m-%dT%H:%M:%SZ") for time in [start, *times])])


def main():
    chance = random.Random(8)
    first = datetime(2024, 1, 1, tzinfo=timezone.utc)
    seconds = int((datetime(2032, 1, 1, tzinfo=timezone.utc) - first).total_seconds())
    for crontab in CRONTABS:
        rows = 0
        while rows < 8:
            start = first + timedelta(seconds=chance.randrange(seconds))
            found = row(crontab, chance.choice(ZONES), start)
            if found:
                print(found)
                rows += 1


main()
