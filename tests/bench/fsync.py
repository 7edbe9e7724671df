#!/usr/bin/env python3
"""What flushing to the disk costs a night: the same night with fsync and without it, in the same run.

    python3 tests/bench/fsync.py [--customers N] [--keep DIR] [--alluvial PATH]

Lands a demo shop and runs one night over and over, by turns with a library in front of the C library's that counts and times
`fsync` and `fdatasync`, and with one in which they do nothing. Prints the fastest night of either kind and the time that the
calls took; the process exits with 1 if flushing adds 5% or more to the night. Linux, with a C compiler.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

import harness
from harness import say

SHARE = 0.05
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static atomic_long calls, nanoseconds;

static int flushed(const char *name, int file) {
  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  int outcome = getenv("BENCH_NO_FSYNC") ? 0 : ((int (*)(int))dlsym(RTLD_NEXT, name))(file);
  clock_gettime(CLOCK_MONOTONIC, &end);
  calls++;
  nanoseconds += (end.tv_sec - begin.tv_sec) * 1000000000L + end.tv_nsec - begin.tv_nsec;
  return outcome;
}

int fsync(int file) { return flushed("fsync", file); }
int fdatasync(int file) { return flushed("fdatasync", file); }

__attribute__((destructor)) static void tell(void) {
  FILE *told = fopen(getenv("BENCH_FSYNC_TOLD"), "w");
  if (told) {
    fprintf(told, "%ld %ld", calls, nanoseconds);
    fclose(told);
  }
}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    harness.add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="nights of each kind")
    args = parser.parse_args()
    alluvial = harness.build(args)
    return harness.in_folder(args, lambda folder: compare(args, alluvial, folder))


def compare(args, alluvial, folder):
    project = harness.demo_shop(args, alluvial, folder)
    with tempfile.TemporaryDirectory() as place:
        shim = pathlib.Path(place) / "shim.so"
        source = shim.with_suffix(".c")
        source.write_text(SHIM)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
        harness.warm(project / "lake" / "landing")
        nights = {True: [], False: []}
        for _ in range(args.rounds):
            for flushes in (True, False):
                nights[flushes].append(night(args, alluvial, project, shim, flushes))
                say(f"{'with' if flushes else 'without'} fsync: {nights[flushes][-1][0]:.1f} s")
    (with_it, calls, spent), (without, _, _) = min(nights[True]), min(nights[False])
    print(f"{args.customers:,} customers, as of {args.as_of}, {args.threads} threads; the fastest of {args.rounds} nights of each kind")
    print(f"with fsync      {with_it:8.1f} s")
    print(f"without         {without:8.1f} s   {with_it / without - 1:+.1%}")
    print(f"in the calls    {spent:8.2f} s   {calls:,} calls, {spent / with_it:.1%} of the night")
    # The calls may wait on several threads at once: the night's own difference decides, unless it drowns in noise.
    share = min(with_it / without - 1, spent / with_it)
    if share >= SHARE:
        print(f"missed: flushing adds {share:.1%}", file=sys.stderr)
        return 1
    return 0


def night(args, alluvial, project, shim, flushes):
    """Seconds of a night, and how many calls there were and the seconds in them."""
    told = shim.with_name("told")
    environment = {**harness.limits(args), "LD_PRELOAD": str(shim), "BENCH_FSYNC_TOLD": str(told)}
    if not flushes:
        environment["BENCH_NO_FSYNC"] = "1"
    command = [alluvial, "--project", project, "--format", "json", "run", "nightly", "--as-of", args.as_of, "--force"]
    output, code, seconds, _ = harness.measured_run(command, env=environment)
    if code != 0:
        sys.exit(f"alluvial run failed:\n{output}")
    calls, nanoseconds = map(int, re.fullmatch(r"(\d+) (\d+)", told.read_text()).groups())
    if calls == 0:
        sys.exit("the night never flushed: is the binary linked without the C library?")
    return seconds, calls, nanoseconds / 1e9


if __name__ == "__main__":
    sys.exit(main())
