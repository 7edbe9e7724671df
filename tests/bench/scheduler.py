#!/usr/bin/env python3
"""How long a night takes in which nothing is due, with a thousand days of history.

    python3 tests/bench/scheduler.py [--days 1000] [--jobs 3] [--upkept] [--binary target/release/alluvial]

A project with some nightly jobs, each with so many settled days, is looked at by `alluvial scheduler --once`, which finds
nothing due. The promise is under 200 ms with a release build, and under a second for 100 jobs over ten years (`--jobs 100 --days
3650 --upkept`), as `alluvial vacuum` leaves them, which the sample job `upkeep` runs once a week: days older than 400 are closed by
one record.
"""

import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

PROJECT = '[project]\nname = "shop"\ntimezone = "Europe/Copenhagen"\ncurrency = "DKK"\n'
# `jobs::upkeep` keeps the records of settled days for so long.
KEPT_DAYS = 400
JOB = 'schedule = "0 4 * * *"\n[[steps]]\nrun = "snapshot"\n'


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--days", type=int, default=1000)
    arguments.add_argument("--jobs", type=int, default=3)
    arguments.add_argument("--upkept", action="store_true")
    arguments.add_argument("--binary", default="target/release/alluvial")
    arguments.add_argument("--times", type=int, default=11)
    given = arguments.parse_args()
    binary = pathlib.Path(given.binary).resolve()
    today = datetime.date(2026, 11, 20)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "alluvial.toml").write_text(PROJECT)
        (root / "jobs").mkdir()
        for number in range(given.jobs):
            name = f"nightly-{number}"
            (root / "jobs" / f"{name}.toml").write_text(JOB)
            state = root / "lake" / "state" / "jobs" / name
            (state / "schedules").mkdir(parents=True)
            since = today - datetime.timedelta(days=given.days)
            schedule = {
                "nonce": "0", "at": f"{since}T12:00:00Z", "schedule": "0 4 * * *", "timezone": "Europe/Copenhagen",
            }
            (state / "schedules" / "000001.json").write_text(json.dumps(schedule))
            kept = given.days
            if given.upkept and given.days > KEPT_DAYS:
                kept = KEPT_DAYS
                (state / "closed").mkdir()
                (state / "closed" / f"0001-01-01_{today - datetime.timedelta(days=kept + 1)}.json").write_text("{}")
            for back in range(1, kept + 1):
                day = state / "days" / str(today - datetime.timedelta(days=back))
                day.mkdir(parents=True)
                (day / "000001-claim.json").write_text("{}")
                (day / "000001-final.json").write_text("{}")
        command = [str(binary), "scheduler", "--once"]
        environment = {"ALLUVIAL_NOW": f"{today}T12:00:00Z"}
        seconds = []
        for _ in range(given.times):
            began = time.perf_counter()
            ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
            seconds.append(time.perf_counter() - began)
            if ran.returncode != 0 or ran.stderr:
                raise SystemExit(f"something was due: {ran.stderr}")
        print(f"{given.jobs} jobs, {given.days} days of history, nothing due:")
        print(f"median {1000 * statistics.median(seconds):.0f} ms, worst {1000 * max(seconds):.0f} ms of {given.times}")


if __name__ == "__main__":
    main()
