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
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SQL = pathlib.Path(__file__).with_name("profile.sql")
ZONE = "Europe/Copenhagen"
CURRENCY = "DKK"
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
    if args.duckdb_out:
        return run_duckdb(args)
    ensure_duckdb()
    if args.landing:
        with tempfile.TemporaryDirectory(prefix="alluvial-bench-") as scratch:
            measured = measure_duckdb(args, args.landing, pathlib.Path(scratch))
            print_steps("DuckDB", measured)
        return 0
    alluvial = build(args)
    folder = pathlib.Path(args.keep).resolve() if args.keep else pathlib.Path(tempfile.mkdtemp(prefix="alluvial-bench-"))
    try:
        return compare(args, alluvial, folder)
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--days", type=int, default=730, metavar="N")
    parser.add_argument("--as-of", type=datetime.date.fromisoformat, default=datetime.date(2025, 11, 18), metavar="DATE")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--memory-limit", default="3GB", metavar="SIZE")
    parser.add_argument("--alluvial", metavar="PATH", help="a binary that is there already, instead of building one")
    parser.add_argument("--keep", metavar="DIR", help="where the project and its lake go, and stay; a shop that is there is used again")
    parser.add_argument("--landing", metavar="DIR", help="time DuckDB alone, on these landed tables")
    parser.add_argument("--duckdb-out", help=argparse.SUPPRESS)
    return parser.parse_args()


def ensure_duckdb():
    """Goes on in a virtual environment that has DuckDB, unless this Python has it."""
    try:
        import duckdb  # noqa: F401
    except ImportError:
        folder = ROOT / "target" / "bench-venv"
        python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if pathlib.Path(sys.executable) == python:
            raise
        if not python.exists():
            say(f"installing DuckDB into {folder}")
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "duckdb>=1.4"], check=True)
        os.execv(str(python), [str(python), *sys.argv])


def build(args):
    if args.alluvial:
        return pathlib.Path(args.alluvial).resolve()
    say("building Alluvial for production")
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / ("alluvial.exe" if os.name == "nt" else "alluvial")


def compare(args, alluvial, folder):
    project = folder / "shop"
    lake = project / "lake"
    landing = lake / "landing"
    if not landing.exists():
        land(args, alluvial, project)
    size = sum(file.stat().st_size for file in landing.rglob("*.parquet"))
    say(f"landed: {size / 1e6:,.0f} MB of Parquet")
    warm(landing)
    peer = measure_duckdb(args, landing, folder)
    warm(landing)
    ours, report = measure_alluvial(args, alluvial, project)
    print_steps("DuckDB", peer)
    print_steps("Alluvial, whole run", ours)
    profile = sum(seconds for step, seconds in ours["steps"] if step in ("land", "profile"))
    limit = 1.25 * bytes_of(args.memory_limit) / 1e6 + 300
    print()
    print(f"{args.customers:,} customers, as of {args.as_of}, {args.threads} threads, memory limit {args.memory_limit}")
    print(f"{'':24}{'DuckDB':>12}{'Alluvial':>12}{'ratio':>8}")
    print(f"{'profile, seconds':24}{peer['seconds']:>12.1f}{profile:>12.1f}{profile / peer['seconds']:>8.2f}")
    print(f"{'whole run, seconds':24}{'':>12}{ours['seconds']:>12.1f}")
    print(f"{'peak memory, MB':24}{peer['peak_mb']:>12,.0f}{ours['peak_mb']:>12,.0f}   (at most {limit:,.0f})")
    agreed = agree(peer["profile"], lake, args.as_of)
    if ours["peak_mb"] > limit:
        print(f"\nAlluvial held {ours['peak_mb']:,.0f} MB, more than 1.25 times its limit and 300 MB")
    return 0 if agreed and ours["peak_mb"] <= limit and report.get("status") == "succeeded" else 1


def land(args, alluvial, project):
    project.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([alluvial, "init", project, "--timezone", ZONE, "--currency", CURRENCY], check=True, stdout=sys.stderr)
    begin = time.monotonic()
    command = [alluvial, "--project", project, "demo", "--customers", str(args.customers), "--days", str(args.days), "--until", str(args.as_of)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    say(f"landed the demo shop in {time.monotonic() - begin:.1f} s")


def warm(folder):
    """Reads every file once, so that neither engine pays for the disk."""
    for file in folder.rglob("*.parquet"):
        with open(file, "rb") as open_file:
            while open_file.read(1 << 24):
                pass


def measured_run(command, **options):
    """Runs a command: its output, its seconds, and the most memory that it held."""
    begin = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, **options)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    # Linux tells kilobytes, macOS bytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return output, process.returncode, seconds, peak / 1e6


def measure_duckdb(args, landing, folder):
    """The profile by DuckDB, in a process of its own so that its memory can be told."""
    out = folder / "duckdb_profile.parquet"
    command = [sys.executable, __file__, "--landing", landing, "--duckdb-out", out, "--as-of", args.as_of]
    command += ["--threads", args.threads, "--memory-limit", args.memory_limit]
    output, code, _, peak = measured_run(command)
    if code != 0:
        sys.exit("DuckDB failed")
    steps = json.loads(output)
    return {"profile": out, "steps": steps, "seconds": sum(seconds for _, seconds in steps), "peak_mb": peak}


def run_duckdb(args):
    import duckdb

    out = pathlib.Path(args.duckdb_out)
    settings = {"threads": args.threads, "memory_limit": args.memory_limit, "preserve_insertion_order": False}
    with tempfile.TemporaryDirectory(dir=out.parent) as spill:
        connection = duckdb.connect(config={**settings, "temp_directory": spill})
        connection.execute(f"SET TimeZone = '{ZONE}'")
        for name, value in (("landing", args.landing), ("as_of", args.as_of), ("currency", CURRENCY)):
            connection.execute(f"SET VARIABLE {name} = '{value}'")
        steps = []
        statements = connection.extract_statements(SQL.read_text())
        for number, statement in enumerate(statements, 1):
            begin = time.monotonic()
            name = re.search(r"^(?:CREATE TEMP (?:TABLE|VIEW)|DROP TABLE|SET VARIABLE) (\w+)", statement.query, re.MULTILINE)
            if number < len(statements):
                connection.execute(statement)
            else:
                query = statement.query.strip().rstrip(";")
                connection.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet)")
            steps.append([name[1] if name and number < len(statements) else "profile", time.monotonic() - begin])
        connection.close()
    json.dump(steps, sys.stdout)
    return 0


def measure_alluvial(args, alluvial, project):
    environment = dict(os.environ)
    environment["ALLUVIAL_ENGINE__MEMORY_LIMIT"] = args.memory_limit
    environment["ALLUVIAL_ENGINE__THREADS"] = str(args.threads)
    command = [alluvial, "--project", project, "--format", "json", "run", "nightly", "--as-of", args.as_of, "--force"]
    output, code, seconds, peak = measured_run(command, env=environment)
    if code != 0:
        sys.exit(f"alluvial run failed:\n{output}")
    report = json.loads(output)
    report = report[0] if isinstance(report, list) else report
    steps = [[step["step"], step["seconds"]] for step in report["steps"]]
    return {"steps": steps, "seconds": seconds, "peak_mb": peak}, report


def agree(peer, lake, as_of):
    """Whether both profiles say the same of every customer. A guest's id hangs on the lake's key, so guests are
    compared by their sums."""
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW theirs AS FROM read_parquet('{peer}')")
    day = f"{lake}/tables/customer_profile/as_of={as_of}/*.parquet"
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


def print_steps(title, measured):
    print(f"\n{title}: {measured['seconds']:.1f} s, {measured['peak_mb']:,.0f} MB at most")
    for step, seconds in measured["steps"]:
        if seconds >= 0.05:
            print(f"  {step:24}{seconds:8.2f}")


def bytes_of(size):
    number, unit = re.fullmatch(r"([\d.]+)\s*([KMGT]?)I?B?", size.upper()).groups()
    step = 1024 if "I" in size.upper() else 1000
    return float(number) * step ** " KMGT".index(unit or " ")


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
