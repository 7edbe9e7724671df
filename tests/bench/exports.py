#!/usr/bin/env python3
"""Exports of a million members: Alluvial against DuckDB's COPY of the same rows, in the same run.

    python3 tests/bench/exports.py [--customers N]

Builds Alluvial for production, lands a shop whose customers have all consented to everything, publishes a day, and times

1. `alluvial export everyone --format email` and `--format facebook` into a gzip file: consent at the door, one row an address,
   the ledger, and the file;
2. DuckDB's `COPY … TO … (FORMAT csv, COMPRESSION gzip)` of the same columns of the same customers, read from the landed
   Parquet, with its own `sha256` over the same normalised values for facebook.

Both get the same threads and find their files in the page cache; of three runs the fastest counts. The rows of both files must
be the same. The process exits with 1 if they are not, or if a target is missed: each export at least as fast as DuckDB, and at
most 500 MB of memory.

DuckDB is installed into target/bench-venv if Python does not have it.
"""

import argparse
import gzip
import json
import subprocess
import sys
import time

import harness
from harness import say

ROUNDS = 3
MEMORY_MB = 500
SHOP = """
COPY (
  SELECT 'c' || i AS customer_id, TIMESTAMP '2025-01-01 10:00:00' + to_seconds(i) AS created_at,
         'Name' || i || '@Example' || (i % 100) || '.com' AS email, '+45' || (20000000 + i) AS phone,
         'First' || (i % 5000) AS first_name, 'Last-' || (i % 70000) AS last_name, 'DK' AS country, 'Midt' AS region,
         'City ' || (i % 900) AS city, CAST(1000 + i % 9000 AS VARCHAR) AS postal_code,
         DATE '1960-01-01' + CAST(i % 15000 AS INTEGER) AS birthday, CASE WHEN i % 2 = 0 THEN 'f' ELSE 'm' END AS gender,
         'subscribed' AS email_consent, TIMESTAMP '2025-01-02 10:00:00' AS email_consent_at, 'checkout' AS email_consent_source,
         'subscribed' AS sms_consent, TIMESTAMP '2025-01-02 10:00:00' AS sms_consent_at, 'granted' AS ads_consent
  FROM range({customers}) t(i)
) TO '{file}' (FORMAT parquet)
"""
EMAIL = """
SELECT customer_id, first_name || ' ' || last_name AS name, email, phone, email_consent,
       strftime(email_consent_at, '%Y-%m-%dT%H:%M:%SZ') AS email_consent_at, email_consent_source, sms_consent,
       strftime(sms_consent_at, '%Y-%m-%dT%H:%M:%SZ') AS sms_consent_at FROM read_parquet('{file}')
"""
FACEBOOK = """
SELECT sha256(lower(trim(email))) AS email, sha256(regexp_replace(phone, '[^0-9]', '', 'g')) AS phone,
       sha256(lower(regexp_replace(first_name, '[^0-9A-Za-z ]', '', 'g'))) AS fn,
       sha256(lower(regexp_replace(last_name, '[^0-9A-Za-z ]', '', 'g'))) AS ln,
       sha256(lower(regexp_replace(postal_code, '[^0-9A-Za-z]', '', 'g'))) AS zip,
       sha256(lower(regexp_replace(city, '[^0-9A-Za-z]', '', 'g'))) AS ct, sha256(lower(region)) AS st,
       sha256(lower(country)) AS country, sha256(strftime(birthday, '%Y')) AS doby, sha256(gender) AS gen
FROM read_parquet('{file}')
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    harness.add_arguments(parser)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    args = parser.parse_args()
    harness.ensure_duckdb()
    if args.peer:
        return run_peer(args)
    alluvial = harness.build(args)
    return harness.in_folder(args, lambda folder: compare(args, alluvial, folder))


def run_peer(args):
    """DuckDB's COPY, in a process of its own so that its memory can be told."""
    import duckdb

    select, target = json.loads(args.peer)
    connection = duckdb.connect(config={"threads": args.threads, "memory_limit": args.memory_limit})
    begin = time.monotonic()
    connection.execute(f"COPY ({select}) TO '{target}' (FORMAT csv, COMPRESSION gzip)")
    print(time.monotonic() - begin)
    return 0


def compare(args, alluvial, folder):
    import duckdb

    project = folder / "shop"
    if not project.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([alluvial, "init", project, "--timezone", harness.ZONE, "--currency", harness.CURRENCY], check=True, stdout=sys.stderr)
        for sample in (project / "sql" / "segments").glob("*.toml"):
            sample.unlink()
        text = 'name = "everyone"\ndescription = "All"\nquery = "number_of_orders >= 0"\n'
        (project / "sql" / "segments" / "everyone.toml").write_text(text)
        (project / "jobs" / "nightly.toml").write_text('[[steps]]\nrun = "snapshot"\n')
        file = project / "lake" / "landing" / "customers" / "all.parquet"
        file.parent.mkdir(parents=True)
        duckdb.connect().execute(SHOP.format(customers=args.customers, file=file))
        subprocess.run([alluvial, "--project", project, "run", "nightly", "--as-of", str(args.as_of)], check=True, stdout=sys.stderr, env=harness.limits(args))
    file = project / "lake" / "landing" / "customers" / "all.parquet"
    harness.warm(project / "lake")
    failed = False
    print(f"\n{args.customers:,} members, {args.threads} threads; the fastest of {ROUNDS} runs each")
    print(f"\n{'format':10}{'DuckDB COPY, s':>16}{'export, s':>12}{'DuckDB / export':>18}{'peak MB':>10}{'DuckDB MB':>12}{'file MB':>10}{'DuckDB':>10}{'same rows':>12}")
    for name, select in (("email", EMAIL), ("facebook", FACEBOOK)):
        ours, theirs = folder / f"{name}.csv.gz", folder / f"{name}.duckdb.csv.gz"
        runs, peers = [], []
        for _ in range(ROUNDS):
            command = [alluvial, "--project", project, "export", "everyone", "--format", name, "--to", ours, "--report", "json", "--quiet"]
            output, code, seconds, peak = harness.measured_run(command, env=harness.limits(args))
            if code != 0:
                sys.exit(f"alluvial export failed:\n{output}")
            if json.loads(output)[0]["counts"]["written"] != args.customers:
                sys.exit(f"not everybody was written:\n{output}")
            runs.append((seconds, peak))
            command = [sys.executable, __file__, "--threads", str(args.threads), "--memory-limit", args.memory_limit]
            command += ["--peer", json.dumps([select.format(file=file), str(theirs)])]
            output, code, _, peak = harness.measured_run(command)
            if code != 0:
                sys.exit("DuckDB failed")
            peers.append((float(output), peak))
        same = rows(ours) == rows(theirs)
        (seconds, _), (peer, _) = min(runs), min(peers)
        peak, peer_peak = max(peak for _, peak in runs), max(peak for _, peak in peers)
        print(f"{name:10}{peer:>16.2f}{seconds:>12.2f}{peer / seconds:>18.2f}{peak:>10,.0f}{peer_peak:>12,.0f}{ours.stat().st_size / 1e6:>10.1f}{theirs.stat().st_size / 1e6:>10.1f}{'yes' if same else 'NO':>12}")
        failed |= not same or seconds > peer or peak > MEMORY_MB
    return 1 if failed else 0


def rows(path):
    """The lines of a file in no order: as many, and the same sum of their hashes."""
    count = total = 0
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        for line in lines:
            count += 1
            total += hash(line.rstrip("\r\n"))
    return count, total


if __name__ == "__main__":
    sys.exit(main())
