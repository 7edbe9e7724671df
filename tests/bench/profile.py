#!/usr/bin/env python3
"""The customer profile of a demo shop: Alluvial against DuckDB, on the same landed Parquet in the same run.

    python3 tests/bench/profile.py [--customers N]

Builds Alluvial for production, lands a demo shop, and times

1. DuckDB making the profile with tests/bench/profile.sql, as one would write it by hand;
2. `alluvial run nightly`: its profile is the steps `land` and `profile`, the rest (lifecycle, segments, publishing) is
   shown beside it.

Both get the same threads and the same memory limit, and both find the files in the page cache. The two profiles must
agree; the process exits with 1 if they do not, or if Alluvial's memory outgrows its limit.

DuckDB is installed into target/bench-venv if Python does not have it.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

import harness

SQL = pathlib.Path(__file__).with_name("profile.sql")
# These must be equal for every customer; the other columns are compared too, and differences are printed.
MUST_AGREE = [
    "number_of_orders",
    "amount_spent",
    "email_opens_90d",
    "email_clicks_90d",
    "page_views_30d",
    "product_views_30d",
    "negative_reviews",
]


def main():
    args = arguments()
    harness.ensure_duckdb()
    if args.duckdb_out:
        return run_duckdb(args)
    if args.landing:
        with tempfile.TemporaryDirectory(prefix="alluvial-bench-") as scratch:
            harness.print_steps("DuckDB", measure_duckdb(args, args.landing, pathlib.Path(scratch)))
        return 0
    alluvial = harness.build(args)
    return harness.in_folder(args, lambda folder: compare(args, alluvial, folder))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    harness.add_arguments(parser)
    parser.add_argument("--landing", metavar="DIR", help="time DuckDB alone, on these landed tables")
    parser.add_argument("--duckdb-out", help=argparse.SUPPRESS)
    return parser.parse_args()


def compare(args, alluvial, folder):
    project = harness.demo_shop(args, alluvial, folder)
    lake = project / "lake"
    landing = lake / "landing"
    harness.warm(landing)
    peer = measure_duckdb(args, landing, folder)
    harness.warm(landing)
    ours, report = harness.run_nightly(args, alluvial, project)
    harness.print_steps("DuckDB", peer)
    harness.print_steps("Alluvial, whole run", ours)
    profile = sum(seconds for step, seconds in ours["steps"] if step in ("land", "profile"))
    limit = 1.25 * harness.bytes_of(args.memory_limit) / 1e6 + 300
    print()
    print(f"{args.customers:,} customers, as of {args.as_of}, {args.threads} threads, memory limit {args.memory_limit}")
    print(f"{'':24}{'DuckDB':>12}{'Alluvial':>12}{'ratio':>8}")
    print(f"{'profile, seconds':24}{peer['seconds']:>12.1f}{profile:>12.1f}{profile / peer['seconds']:>8.2f}")
    print(f"{'whole run, seconds':24}{'':>12}{ours['seconds']:>12.1f}")
    print(f"{'peak memory, MB':24}{peer['peak_mb']:>12,.0f}{ours['peak_mb']:>12,.0f}   (at most {limit:,.0f})")
    agreed = agree(peer["profile"], lake, args.as_of, report["run_id"])
    if ours["peak_mb"] > limit:
        print(f"\nAlluvial held {ours['peak_mb']:,.0f} MB, more than 1.25 times its limit and 300 MB")
    return 0 if agreed and ours["peak_mb"] <= limit and report.get("status") == "succeeded" else 1


def measure_duckdb(args, landing, folder):
    """The profile by DuckDB, in a process of its own so that its memory can be told."""
    out = folder / "duckdb_profile.parquet"
    command = [sys.executable, __file__, "--landing", landing, "--duckdb-out", out, "--as-of", args.as_of]
    command += ["--threads", args.threads, "--memory-limit", args.memory_limit]
    output, code, _, peak = harness.measured_run(command)
    if code != 0:
        sys.exit("DuckDB failed")
    steps = json.loads(output)
    return {"profile": out, "steps": steps, "seconds": sum(seconds for _, seconds in steps), "peak_mb": peak}


def run_duckdb(args):
    out = pathlib.Path(args.duckdb_out)
    with tempfile.TemporaryDirectory(dir=out.parent) as spill:
        connection = harness.duckdb_connection(args, spill)
        for name, value in (("landing", args.landing), ("as_of", args.as_of), ("currency", harness.CURRENCY)):
            connection.execute(f"SET VARIABLE {name} = '{value}'")
        steps = []
        statements = connection.extract_statements(SQL.read_text())
        for number, statement in enumerate(statements, 1):
            begin = time.monotonic()
            if number < len(statements):
                connection.execute(statement)
            else:
                query = statement.query.strip().rstrip(";")
                connection.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet)")
            name = harness.statement_name(statement.query) if number < len(statements) else "profile"
            steps.append([name or "profile", time.monotonic() - begin])
        connection.close()
    json.dump(steps, sys.stdout)
    return 0


def agree(peer, lake, as_of, run_id):
    """Whether both profiles say the same of every customer. A guest's id hangs on the lake's key, so guests are
    compared by their sums."""
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW theirs AS FROM read_parquet('{peer}')")
    day = f"{lake}/tables/customer_profile/as_of={as_of}/*{run_id}.parquet"
    connection.execute(f"CREATE VIEW ours AS FROM read_parquet('{day}', hive_partitioning = false)")

    def columns(table):
        return [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]

    shared = [column for column in columns("theirs") if column in columns("ours") and column != "customer_id"]
    missing = [column for column in columns("theirs") if column not in columns("ours")]
    differing = ", ".join(f"count(*) FILTER (t.{column} IS DISTINCT FROM o.{column})" for column in shared)
    known = "(FROM {} WHERE customer_id NOT LIKE 'guest:%')"
    query = f"FROM {known.format('theirs')} t FULL JOIN {known.format('ours')} o USING (customer_id)"
    counts = dict(zip(shared, connection.execute(f"SELECT {differing} {query}").fetchone()))
    sums = ", ".join(f"sum({column})" for column in MUST_AGREE)
    guests = [
        connection.execute(f"SELECT count(*), {sums} FROM {table} WHERE customer_id LIKE 'guest:%'").fetchone()
        for table in ("theirs", "ours")
    ]
    customers = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("theirs", "ours")]
    wrong = {column: count for column, count in counts.items() if count}
    print(f"\nthe same customers: {'yes' if customers[0] == customers[1] else 'NO'} ({customers[0]:,} and {customers[1]:,})")
    print(f"the same guests: {'yes' if guests[0] == guests[1] else f'NO: {guests[0]} and {guests[1]}'}")
    print(f"columns compared: {len(shared)}" + (f"; not in Alluvial's profile: {', '.join(missing)}" if missing else ""))
    for column, count in wrong.items():
        print(f"  {column} differs for {count:,} customers{'  ← must agree' if column in MUST_AGREE else ''}")
    if not wrong:
        print("every column is the same for every customer")
    return customers[0] == customers[1] and guests[0] == guests[1] and not any(column in wrong for column in MUST_AGREE)


if __name__ == "__main__":
    sys.exit(main())
