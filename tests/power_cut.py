#!/usr/bin/env python3
"""Nights on a disk whose power is cut: copies of the disk's image at random moments, each looked at as after the cut.

    sudo python3 tests/power_cut.py [--moments 50] [--binary target/release/alluvial] [--seed N]

The lake lies on a file system of its own, in an image behind a loop device. While nights are run one after the other, the
image is copied at random moments: what the device has been given by then is what a power cut would leave. The program is
stopped (not ended) for the moment of the copy, so that the copy is of one moment. Each copy is mounted, which replays its
journal, and must have every day that was acknowledged (the run had ended with 0) before the copy began, no commit of zero
length, and files as they were written (`alluvial doctor --all`); and the next night must go through on it.

By hand only: it needs root, a loop device and ext4.
"""

import argparse
import datetime
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

PROJECT = (
    '[project]\nname = "shop"\ntimezone = "Europe/Copenhagen"\ncurrency = "DKK"\n'
    '[landing]\nmax_reject_ratio = 1.0\n'
)
JOB = '[[steps]]\nrun = "snapshot"\n'
NOW = "2026-11-20T12:00:00Z"
FIRST = datetime.date(2026, 9, 1)


def sh(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Disk:
    """An image, mounted."""

    def __init__(self, image: pathlib.Path, at: pathlib.Path) -> None:
        self.at = at
        at.mkdir(parents=True, exist_ok=True)
        sh("mount", "-o", "loop", str(image), str(at))

    def __enter__(self) -> pathlib.Path:
        return self.at

    def __exit__(self, *_error: object) -> None:
        # What was looked at a moment ago may still be held.
        for _ in range(50):
            if subprocess.run(["umount", str(self.at)], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        sh("umount", "-l", str(self.at))


class Nights(threading.Thread):
    """Runs one night after the other, and knows which were acknowledged."""

    def __init__(self, binary: pathlib.Path, root: pathlib.Path) -> None:
        super().__init__(daemon=True)
        self.binary, self.root = binary, root
        self.acknowledged: list[str] = []
        self.over = False
        self.child: subprocess.Popen | None = None
        self.failed = ""

    def run(self) -> None:
        number = 0
        while not self.over:
            # A few days over and over: new ones, and others in the place of published ones.
            day = str(FIRST + datetime.timedelta(days=number % 20))
            command = [str(self.binary), "run", "nightly", "--as-of", day, "--force"]
            self.child = subprocess.Popen(
                command, cwd=self.root, env={"ALLUVIAL_NOW": NOW}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                text=True,
            )
            _, told = self.child.communicate()
            if self.child.returncode != 0:
                self.failed = told
                return
            if day not in self.acknowledged:
                self.acknowledged.append(day)
            number += 1


def alluvial(binary: pathlib.Path, root: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(binary), *arguments], cwd=root, env={"ALLUVIAL_NOW": NOW}, capture_output=True, text=True)


def look(binary: pathlib.Path, root: pathlib.Path, acknowledged: list[str]) -> list[str]:
    """What is wrong on a disk after the cut."""
    wrong = []
    commits = root.glob("lake/tables/*/_delta_log/*.json")
    wrong += [f"{commit.relative_to(root)} is empty" for commit in commits if commit.stat().st_size == 0]
    if acknowledged:
        ran = alluvial(binary, root, "query", "SELECT as_of FROM snapshots ORDER BY as_of", "--format", "csv")
        seen = set(ran.stdout.splitlines()[1:])
        if ran.returncode != 0:
            wrong.append(f"the days cannot be read: {ran.stderr}")
        wrong += [f"{day} was acknowledged, and is lost" for day in acknowledged if day not in seen]
        doctor = alluvial(binary, root, "doctor", "--all")
        if doctor.returncode != 0:
            wrong.append(f"the doctor: {doctor.stdout}{doctor.stderr}")
    ran = alluvial(binary, root, "run", "nightly", "--as-of", str(FIRST + datetime.timedelta(days=25)))
    if ran.returncode != 0:
        wrong.append(f"the next night: {ran.stderr}")
    return wrong


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--moments", type=int, default=50)
    arguments.add_argument("--binary", default="target/release/alluvial")
    arguments.add_argument("--customers", type=int, default=300)
    arguments.add_argument("--megabytes", type=int, default=256)
    arguments.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = arguments.parse_args()
    if os.geteuid() != 0:
        sys.exit("skipped: file systems are mounted by root only")
    binary = pathlib.Path(given.binary).resolve()
    chance = random.Random(given.seed)
    lost = torn = other = 0
    with tempfile.TemporaryDirectory() as folder:
        below = pathlib.Path(folder)
        image, copied = below / "disk.img", below / "copy.img"
        with image.open("wb") as file:
            file.truncate(given.megabytes << 20)
        sh("mkfs.ext4", "-q", "-F", str(image))
        with Disk(image, below / "disk") as root:
            (root / "alluvial.toml").write_text(PROJECT)
            (root / "jobs").mkdir()
            (root / "jobs" / "nightly.toml").write_text(JOB)
            (root / "sql" / "segments").mkdir(parents=True)
            (root / "sql" / "segments" / "buyers.toml").write_text('name = "b"\nquery = "number_of_orders >= 1"\n')
            landed = alluvial(binary, root, "demo", "--customers", str(given.customers), "--days", "120")
            if landed.returncode != 0:
                sys.exit(f"nothing is landed: {landed.stderr}")
            sh("sync")
            nights = Nights(binary, root)
            nights.start()
            for moment in range(given.moments):
                time.sleep(chance.uniform(0.05, 3.0))
                acknowledged = list(nights.acknowledged)
                child = nights.child
                if child is not None and child.poll() is None:
                    child.send_signal(signal.SIGSTOP)
                shutil.copyfile(image, copied)
                if child is not None and child.poll() is None:
                    child.send_signal(signal.SIGCONT)
                with Disk(copied, below / "copy") as after:
                    wrong = look(binary, after, acknowledged)
                lost += sum("is lost" in line for line in wrong)
                torn += sum("is empty" in line for line in wrong)
                other += sum("is lost" not in line and "is empty" not in line for line in wrong)
                for line in wrong:
                    print(f"moment {moment}: {line}", flush=True)
                if nights.failed:
                    sys.exit(f"a night failed by itself: {nights.failed}")
            nights.over = True
            nights.join()
    told = f"{given.moments} moments, {len(nights.acknowledged)} days acknowledged (seed {given.seed}): "
    print(f"{told}{lost} lost, {torn} commits of zero length, {other} other faults")
    sys.exit(1 if lost or torn or other else 0)


if __name__ == "__main__":
    main()
