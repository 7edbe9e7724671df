#!/usr/bin/env python3
"""Dashboard queries over a published day: `alluvial serve` through the Postgres wire, against DuckDB in its own process.

    python3 tests/bench/serve.py [--customers N] [--segments N] [--keep DIR] [--alluvial PATH]

Lands a demo shop, publishes two nights (so that something changed) with drawn segments (`segment_mix.py`) unless days are
published, and asks twenty questions of a dashboard, each many times, in the same words (`again`, as dashboards do; the server knows the
answer) and in new ones (`computed`): DuckDB reads the very Parquet files that the day's manifest names. Answers must be the same. The
process exits with 1 if they are not, or if a target is missed: the median of the medians at most DuckDB's plus 5 ms, the
95th percentile under 100 ms at 1 and at 16 connections, and a full pull of a segment of all buyers (half of a million) through Flight SQL at
least as fast as DuckDB's `COPY` of it to Parquet (of three pulls each the fastest counts).

DuckDB and the clients are installed into target/bench-venv if Python does not have them.
"""

import argparse
import concurrent.futures
import datetime
import itertools
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time

import harness
import segment_mix
import segments
from harness import say

PACKAGES = ["duckdb>=1.4", "psycopg[binary]", "adbc-driver-manager", "adbc-driver-flightsql", "pyarrow"]
ROUNDS = 20
PULLED = "buyers"
PULLS = 3
MORE_MS = 5
P95_MS = 100


def queries(largest, customer):
    """Twenty questions, as one would ask them of either."""
    big, other = largest[0], largest[1 % len(largest)]
    return {
        "sizes": "SELECT segment, members FROM segment_sizes ORDER BY 1",
        "size of one": f"SELECT members, entered, exited FROM segment_sizes WHERE segment = '{big}'",
        "count of one": f"SELECT count(*) FROM segment_members WHERE segment = '{big}'",
        "stage mix": "SELECT stage, count(*) FROM lifecycle GROUP BY 1 ORDER BY 1",
        "stage values": "SELECT stage, round(sum(predicted_value))::BIGINT FROM lifecycle GROUP BY 1 ORDER BY 1",
        "transitions": "SELECT from_stage, to_stage, customers FROM lifecycle_transitions ORDER BY 1, 2",
        "by country": f"SELECT p.country, count(*) FROM segment_members m JOIN customer_profile p ON p.customer_id = m.customer_id WHERE m.segment = '{big}' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10",
        "top categories": f"SELECT p.favorite_category, count(*) FROM segment_members m JOIN customer_profile p ON p.customer_id = m.customer_id WHERE m.segment = '{other}' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10",
        "overlap": f"SELECT count(*) FROM segment_members a JOIN segment_members b ON a.customer_id = b.customer_id WHERE a.segment = '{big}' AND b.segment = '{other}'",
        "overlaps": f"SELECT segment_b, \"both\" FROM segment_overlap WHERE segment_a = '{big}' ORDER BY 1",
        "one customer": f"SELECT number_of_orders, amount_spent FROM customer_profile WHERE customer_id = '{customer}'",
        "a customer's segments": f"SELECT segment FROM segment_members WHERE customer_id = '{customer}' ORDER BY 1",
        "a customer's orders": f"SELECT order_id, net_amount FROM orders WHERE customer_id = '{customer}' ORDER BY 1",
        "revenue by day": "SELECT ordered_on, sum(net_amount) FROM orders WHERE is_counted GROUP BY 1 ORDER BY 1 DESC LIMIT 30",
        "customers by country": "SELECT country, count(*) FROM customer_profile GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10",
        "spend by country": "SELECT country, sum(amount_spent) FROM customer_profile GROUP BY 1 ORDER BY 1 LIMIT 10",
        "rfm": "SELECT rfm_group, count(*) FROM customer_profile GROUP BY 1 ORDER BY 1",
        "best customers": "SELECT customer_id, amount_spent FROM customer_profile ORDER BY 2 DESC, 1 LIMIT 20",
        "reachable": "SELECT count(*) FROM customer_profile WHERE email_reachable AND number_of_orders > 1",
        "changes": "SELECT segment, change, count(*) FROM segment_changes GROUP BY 1, 2 ORDER BY 1, 2",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    harness.add_arguments(parser)
    parser.add_argument("--segments", type=int, default=100, metavar="N")
    args = parser.parse_args()
    ensure_packages()
    alluvial = harness.build(args)
    return harness.in_folder(args, lambda folder: compare(args, alluvial, folder))


def ensure_packages():
    """Goes on in a virtual environment that has DuckDB and the clients."""
    try:
        import adbc_driver_flightsql, duckdb, psycopg, pyarrow  # noqa: E401, F401
    except ImportError:
        python = harness.ROOT / "target" / "bench-venv" / "bin" / "python"
        if pathlib.Path(sys.executable) == python:
            raise
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        say(f"installing {', '.join(PACKAGES)}")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        os.execv(str(python), [str(python), *sys.argv])


def ask(alluvial, project, *words):
    return json.loads(subprocess.run([alluvial, "--project", project, "--format", "json", *words], check=True, stdout=subprocess.PIPE).stdout)


def compare(args, alluvial, folder):
    project = harness.demo_shop(args, alluvial, folder)
    days = ask(alluvial, project, "query", "SELECT manifest FROM snapshots ORDER BY as_of DESC LIMIT 1")
    if not days:
        args.landing = project / "lake" / "landing"
        drawn = segment_mix.definitions(segments.what_there_is(harness.duckdb_connection(args, folder), args), args.segments)
        written = [(identifier, name, tree.language(), None) for identifier, name, tree in drawn]
        segments.write_segments(project, [*written, (PULLED, "Buyers", "number_of_orders >= 1", None)])
        newest = args.as_of
        for args.as_of in (newest - datetime.timedelta(days=1), newest):
            harness.run_nightly(args, alluvial, project)
        days = ask(alluvial, project, "query", "SELECT manifest FROM snapshots ORDER BY as_of DESC LIMIT 1")
    lake = project / "lake"
    tables = json.loads((lake / days[0]["manifest"]).read_text())["tables"]
    sizes = ask(alluvial, project, "query", f"SELECT segment FROM segment_sizes_latest WHERE segment <> '{PULLED}' ORDER BY members DESC LIMIT 2")
    customer = ask(alluvial, project, "query", "SELECT customer_id FROM customer_profile_latest ORDER BY amount_spent DESC LIMIT 1")
    asked = queries([row["segment"] for row in sizes], customer[0]["customer_id"])
    subprocess.run([alluvial, "--project", project, "user", "revoke", "bench"], stderr=subprocess.DEVNULL)
    secret = ask(alluvial, project, "user", "add", "bench")[0]["secret"]
    command = [alluvial, "--project", project, "serve", "--no-scheduler", "--postgres", "127.0.0.1:0", "--flight", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=harness.limits(args))
    try:
        doors = {}
        while len(doors) < 3:
            line = server.stderr.readline()
            if not line:
                sys.exit("the server did not start")
            door, _, at = line.strip().partition(": ")
            if door in ("postgres", "flight", "http"):
                doors[door] = at
        # Nobody else reads what it says, and a pipe that is full would hold it up.
        threading.Thread(target=server.stderr.read, daemon=True).start()
        return measure(args, folder, lake, tables, asked, doors, secret)
    finally:
        server.terminate()
        server.wait()


def anew(sql, number):
    """The same question in words that nobody has used: what was answered before is of no use to it."""
    return f"SELECT * FROM ({sql}) q WHERE {number} = {number}"


def latest(sql):
    """The same question of the newest day, in the server's names."""
    by_day = "segment_sizes segment_members segment_overlap segment_changes customer_profile lifecycle_transitions lifecycle".split()
    return re.sub(rf"\b({'|'.join(by_day)})\b(?! *\.)(?=[ ])", r"\1_latest", sql)


def measure(args, folder, lake, tables, asked, doors, secret):
    import psycopg

    duck = harness.duckdb_connection(args, folder)
    for name, table in tables.items():
        files = [str(lake / file["path"]) for file in table["files"]]
        if files:
            duck.execute(f'CREATE VIEW "{name}" AS SELECT * FROM read_parquet({files!r}, hive_partitioning = false)')
    host, port = doors["postgres"].rsplit(":", 1)

    def connect():
        return psycopg.connect(host=host, port=port, user="bench", password=secret, dbname="alluvial", autocommit=True)

    wrong, table, everything, all_anew = [], [], [], []
    with connect() as connection:
        for name, sql in asked.items():
            ours = connection.execute(latest(sql)).fetchall()
            theirs = duck.execute(sql).fetchall()
            if [tuple(map(str, row)) for row in ours] != [tuple(map(str, row)) for row in theirs]:
                wrong.append(name)
            mine = timed(lambda: connection.execute(latest(sql)).fetchall())
            peer = timed(lambda: duck.execute(sql).fetchall())
            rounds = itertools.count()
            computed = timed(lambda: connection.execute(anew(latest(sql), next(rounds))).fetchall())
            everything += mine
            all_anew += computed
            table.append((name, statistics.median(peer), statistics.median(computed), statistics.median(mine), percentile(mine)))
    many = crowd(connect, [latest(sql) for sql in asked.values()])
    members, pull, peer_pull = pulls(doors["flight"], secret, duck, folder)
    print(f"\n{args.customers:,} customers, {len(asked)} queries, {ROUNDS} times each, milliseconds\n{'':24}{'DuckDB':>10}{'computed':>10}{'again':>10}{'p95':>10}")
    for name, peer, computed, mine, late in table:
        print(f"{name:24}{peer:10.1f}{computed:10.1f}{mine:10.1f}{late:10.1f}")
    peer, computed, mine = (statistics.median(row[column] for row in table) for column in (1, 2, 3))
    print(f"{'median of the medians':24}{peer:10.1f}{computed:10.1f}{mine:10.1f}")
    print(f"p95 at 1 connection {percentile(everything):.1f} ms, computed anew {percentile(all_anew):.1f} ms, at 16 connections {percentile(many):.1f} ms")
    print(f"a segment of {members:,}: {pull:.2f} s through Flight SQL, {peer_pull:.2f} s for DuckDB's COPY to Parquet")
    missed = [f"different answers: {', '.join(wrong)}"] if wrong else []
    missed += ["median"] if max(mine, computed) > peer + MORE_MS else []
    missed += ["p95"] if max(percentile(everything), percentile(many)) >= P95_MS else []
    missed += ["pull"] if pull > peer_pull else []
    if missed:
        print("missed: " + "; ".join(missed))
    return 1 if missed else 0


def timed(work):
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        times.append((time.perf_counter() - begin) * 1e3)
    return times


def percentile(times):
    return sorted(times)[int(len(times) * 0.95) - 1]


def crowd(connect, asked):
    """Sixteen connections, each with all questions."""

    def one(number):
        with connect() as connection:
            turned = asked[number % len(asked) :] + asked[: number % len(asked)]
            return [time_of(connection, sql) for sql in turned]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return [time for times in pool.map(one, range(16)) for time in times]


def time_of(connection, sql):
    begin = time.perf_counter()
    connection.execute(sql).fetchall()
    return (time.perf_counter() - begin) * 1e3


def pulls(flight, secret, duck, folder):
    """A segment whole, through Flight SQL and by DuckDB into a file: its members, and the fastest of some pulls of each."""
    from adbc_driver_flightsql import dbapi

    out = folder / "pull.parquet"
    copy = f"COPY (SELECT p.* FROM segment_members m JOIN customer_profile p ON p.customer_id = m.customer_id WHERE m.segment = '{PULLED}') TO '{out}'"
    ours, theirs = [], []
    for _ in range(PULLS):
        begin = time.perf_counter()
        with dbapi.connect(f"grpc://{flight}", db_kwargs={"username": "bench", "password": secret}, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(f'SELECT * FROM segment."{PULLED}"')
            members = cursor.fetch_arrow_table().num_rows
        ours.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        duck.execute(copy)
        theirs.append(time.perf_counter() - begin)
        if duck.execute(f"SELECT count(*) FROM read_parquet('{out}')").fetchone()[0] != members:
            sys.exit("the pulls have different rows")
        out.unlink()
    return members, min(ours), min(theirs)


if __name__ == "__main__":
    sys.exit(main())
