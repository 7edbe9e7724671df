#!/usr/bin/env python3
"""A catalogue of segments over a demo shop: Alluvial against DuckDB, with the same definitions in the same run.

    python3 tests/bench/segments.py [--customers N] [--segments N,N,N]

Builds Alluvial for production, lands a demo shop, draws realistic segments (`segment_mix.py`), and times

1. DuckDB loading the landed tables, making the profile (profile.sql, with what segments.sql adds), and running one query
   a segment, as one would write it by hand;
2. `alluvial run nightly` with the first 10, the first 100 and all 1,000 of the segments: the whole run, and its step
   `segments`; and `alluvial check` with all of them and with none.

Both get the same threads and the same memory limit, and both find the files in the page cache. The members of every
segment must be the same, customer by customer. The process exits with 1 if they are not, or if a target is missed: the
whole run with all segments at least 5 times faster than all of DuckDB's work; the segments of the last run at most 3
times as expensive as those of the first; checking and compiling all of them in under a second; at most 4 GiB of memory.

DuckDB is installed into target/bench-venv if Python does not have it.
"""

import argparse
import json
import pathlib
import re
import shutil
import sys
import tempfile
import time

import harness
import segment_mix
from harness import say

HERE = pathlib.Path(__file__).resolve().parent
# Tables that queries read: they stay in DuckDB's database file, where they are compressed.
KEPT = ("orders", "items", "events")
FASTER_THAN_DUCKDB = 5
GROWTH = 3
CHECK_SECONDS = 1
MEMORY_MB = 4 * 1024**3 / 1e6
# Which share of the customers a segment mostly has.
USUAL = (0.001, 0.2)


def main():
    args = arguments()
    harness.ensure_duckdb()
    if args.duckdb_out:
        return run_duckdb(args)
    alluvial = harness.build(args)
    return harness.in_folder(args, lambda folder: compare(args, alluvial, folder))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    harness.add_arguments(parser)
    parser.add_argument("--segments", type=counts, default=[10, 100, 1000], metavar="N,N,N", help="how many segments each run has, ascending")
    parser.add_argument("--landing", help=argparse.SUPPRESS)
    parser.add_argument("--duckdb-out", help=argparse.SUPPRESS)
    return parser.parse_args()


def counts(text):
    numbers = [int(number) for number in text.split(",")]
    if numbers != sorted(set(numbers)) or numbers[0] < 1:
        raise argparse.ArgumentTypeError("numbers, ascending, joined by commas")
    return numbers


def compare(args, alluvial, folder):
    project = harness.demo_shop(args, alluvial, folder)
    landing = project / "lake" / "landing"
    harness.warm(landing)
    peer = measure_duckdb(args, landing, folder)
    definitions = peer["definitions"]
    harness.warm(landing)
    seconds_to_check = measure_check(args, alluvial, project, definitions)
    runs = []
    for count in args.segments:
        write_segments(project, definitions[:count])
        measured, report = harness.run_nightly(args, alluvial, project)
        wrong = differing(folder, project / "lake", report, definitions[:count])
        runs.append({"segments": count, "report": report, "wrong": wrong, **measured})
        harness.print_steps(f"Alluvial, {count:,} segments", measured)
    harness.print_steps("DuckDB, without its queries", {**peer, "seconds": peer["load"] + peer["profile"]})
    return tell(args, definitions, peer, runs, seconds_to_check)


# ── DuckDB ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def measure_duckdb(args, landing, folder):
    """Load, profile and queries by DuckDB, in a process of its own so that its memory can be told."""
    out = folder / "duckdb"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command = [sys.executable, __file__, "--landing", landing, "--duckdb-out", out, "--as-of", args.as_of]
    command += ["--threads", args.threads, "--memory-limit", args.memory_limit, "--segments", ",".join(map(str, args.segments))]
    output, code, _, peak = harness.measured_run(command)
    if code != 0:
        sys.exit("DuckDB failed")
    return {**json.loads(output), "peak_mb": peak}


def run_duckdb(args):
    out = pathlib.Path(args.duckdb_out)
    with tempfile.TemporaryDirectory(dir=out) as spill:
        connection = harness.duckdb_connection(args, spill, out / "shop.duckdb")
        definitions = segment_mix.definitions(what_there_is(connection, args), args.segments[-1])
        steps = []
        for name, sql in statements(connection, args):
            begin = time.monotonic()
            connection.execute(sql)
            steps.append([name, time.monotonic() - begin])
        connection.execute("CREATE TABLE segment_members (segment VARCHAR, customer_id VARCHAR)")
        queries = []
        for identifier, _, tree in definitions:
            begin = time.monotonic()
            connection.execute(f"INSERT INTO segment_members SELECT '{identifier}', customer_id FROM ({segment_mix.query(tree, args.as_of)})")
            queries.append(time.monotonic() - begin)
        customers = connection.execute("SELECT count(*) FROM profile").fetchone()[0]
        connection.close()
    loaded = max(number for number, (name, _) in enumerate(steps) if name in KEPT)
    told = {
        "steps": steps,
        "load": sum(seconds for _, seconds in steps[: loaded + 1]),
        "profile": sum(seconds for _, seconds in steps[loaded + 1 :]),
        "queries": queries,
        "customers": customers,
        "definitions": [(identifier, name, tree.language(), segment_mix.query(tree, args.as_of)) for identifier, name, tree in definitions],
    }
    json.dump(told, sys.stdout)
    return 0


def statements(connection, args):
    """The statements of profile.sql with what segments.sql adds, by name. The last one makes the profile a table."""
    added = (HERE / "segments.sql").read_text()
    columns = dict(re.findall(r"^-- (\w+): (, .*)$", added, re.MULTILINE))
    instead = {harness.statement_name(statement.query): statement.query for statement in connection.extract_statements(added)}
    sql = (HERE / "profile.sql").read_text()
    for name, more in columns.items():
        sql = sql.replace(f"/*{name}*/", more)
    for name, value in (("landing", args.landing), ("as_of", args.as_of), ("currency", harness.CURRENCY)):
        yield name, f"SET VARIABLE {name} = '{value}'"
    everything = [statement.query for statement in connection.extract_statements(sql)]
    for number, statement in enumerate(everything, 1):
        name = harness.statement_name(statement)
        if number == len(everything):
            yield "profile", f"CREATE TABLE profile AS {statement}"
        elif statement.lstrip().startswith("DROP TABLE") and name in KEPT:
            continue
        elif name in KEPT:
            yield name, instead.get(name, statement.replace("CREATE TEMP TABLE", "CREATE TABLE", 1))
        else:
            yield name, statement


def what_there_is(connection, args):
    """What the shop's people buy, view and are sent, the most common first."""

    def common(table, expression, where="true", limit=1000):
        files = f"read_parquet('{args.landing}/{table}/**/*.parquet', union_by_name = true)"
        rows = connection.execute(
            f"SELECT {expression} AS name FROM {files} WHERE {where} GROUP BY 1 HAVING name IS NOT NULL ORDER BY count(*) DESC, 1 LIMIT {limit}"
        )
        return [row[0] for row in rows.fetchall()]

    def campaigns(kind):
        files = f"read_parquet('{args.landing}/events/**/*.parquet', union_by_name = true)"
        rows = connection.execute(
            f"SELECT campaign_id, date_diff('day', min(occurred_at)::DATE, DATE '{args.as_of}') AS days FROM {files}"
            f" WHERE type = '{kind}' AND campaign_id IS NOT NULL GROUP BY campaign_id ORDER BY days, campaign_id"
        )
        return rows.fetchall()

    return segment_mix.Shop(
        categories=common("products", "category", "category LIKE '%>%'"),
        brands=common("order_items", "brand"),
        labels=common("products", "unnest(labels)"),
        collections=common("products", "unnest(collections)"),
        products=common("order_items", "product_id", limit=300),
        terms=common("events", "search_term"),
        coupons=common("orders", "unnest(coupon_codes)"),
        sources=common("events", "source"),
        cities=common("customers", "city"),
        campaigns=campaigns("email_sent"),
        texts=campaigns("sms_sent"),
    )


# ── Alluvial ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_segments(project, definitions):
    folder = project / "sql" / "segments"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for identifier, name, query, _ in definitions:
        text = f'name = "{name}"\ndescription = "Drawn by the benchmark."\nquery = """\n{query.replace(chr(92), chr(92) * 2)}\n"""\n'
        (folder / f"{identifier}.toml").write_text(text)


def measure_check(args, alluvial, project, definitions):
    """What all definitions add to `alluvial check`: the least of three times with them, less that without any."""
    least = {}
    for some in (definitions, []):
        write_segments(project, some)
        for _ in range(3):
            output, code, seconds, _ = harness.measured_run([alluvial, "--project", project, "--format", "json", "check"], env=harness.limits(args))
            if code != 0:
                sys.exit(f"alluvial check found faults:\n{output}")
            least[len(some)] = min(seconds, least.get(len(some), seconds))
    return least[len(definitions)] - least[0]


def differing(folder, lake, report, definitions):
    """The segments whose members are not the same. A guest's id hangs on the lake's key, so a guest is known by the
    address that the id stands for."""
    import duckdb

    manifest = json.loads((lake / "snapshots" / report["as_of"] / f"{report['run_id']}.json").read_text())

    def files(table):
        paths = [str(lake / file["path"]) for file in manifest["tables"][table]["files"]]
        return f"read_parquet({paths}, hive_partitioning = false)"

    connection = duckdb.connect()
    connection.execute(f"ATTACH '{folder / 'duckdb' / 'shop.duckdb'}' AS peer (READ_ONLY)")
    connection.execute(
        "CREATE TABLE guests AS SELECT customer_id AS id, 'guest:' || coalesce(lower(email), phone) AS customer_id"
        f" FROM {files('customer_contacts')} WHERE customer_id LIKE 'guest:%'"
    )
    connection.execute(
        "CREATE TABLE ours AS SELECT segment, coalesce(g.customer_id, m.customer_id) AS customer_id"
        f" FROM {files('segment_members')} m LEFT JOIN guests g ON g.id = m.customer_id"
    )
    count = "SELECT segment, count(*) AS members, bit_xor(hash(customer_id)) AS mixed, sum(hash(customer_id)) AS sum"
    connection.execute(f"CREATE TABLE of_ours AS {count} FROM ours GROUP BY segment")
    connection.execute(f"CREATE TABLE of_peer AS {count} FROM peer.segment_members GROUP BY segment")
    wrong = []
    for identifier, name, query, sql in definitions:
        sums = [connection.execute(f"SELECT * FROM {table} WHERE segment = '{identifier}'").fetchone() for table in ("of_peer", "of_ours")]
        if sums[0] == sums[1]:
            continue
        one, other = (f"(SELECT customer_id FROM {table} WHERE segment = '{identifier}')" for table in ("peer.segment_members", "ours"))
        only = [connection.execute(f"SELECT count(*), min(customer_id) FROM ({a} EXCEPT {b})").fetchone() for a, b in ((one, other), (other, one))]
        wrong.append((identifier, name, query, sql, only))
    return wrong


# ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────────────


def tell(args, definitions, peer, runs, seconds_to_check):
    def queried(count):
        return sum(peer["queries"][:count])

    print(f"\n{args.customers:,} customers, as of {args.as_of}, {args.threads} threads, memory limit {args.memory_limit}")
    with_functions = sum("MATCHES" in query for _, _, query, _ in definitions)
    sizes = sorted(entry["members"] / peer["customers"] for entry in runs[-1]["report"]["segments"])
    usual = sum(USUAL[0] <= size <= USUAL[1] for size in sizes)
    print(
        f"{len(definitions):,} segments, {with_functions:,} with functions; {usual:,} of {USUAL[0]:.1%} to {USUAL[1]:.0%} of {peer['customers']:,} customers,"
        f" half of them under {sizes[len(sizes) // 2]:.1%}"
    )
    print(f"\nDuckDB: load {peer['load']:.1f} s, profile {peer['profile']:.1f} s, {peer['peak_mb']:,.0f} MB at most")
    print(f"\n{'segments':>10}{'DuckDB queries, s':>20}{'in all, s':>12}{'Alluvial segments, s':>23}{'whole run, s':>14}{'DuckDB / run':>14}{'peak MB':>10}{'same members':>14}")
    for run in runs:
        whole = peer["load"] + peer["profile"] + queried(run["segments"])
        same = run["segments"] - len(run["wrong"])
        print(
            f"{run['segments']:>10,}{queried(run['segments']):>20.1f}{whole:>12.1f}{step(run, 'segments'):>23.2f}{run['seconds']:>14.1f}"
            f"{whole / run['seconds']:>14.2f}{run['peak_mb']:>10,.0f}{same:>14,}"
        )
    whole = peer["load"] + peer["profile"] + queried(runs[-1]["segments"])
    growth = step(runs[-1], "segments") / max(step(runs[0], "segments"), 1e-9)
    peak = max(run["peak_mb"] for run in runs)
    targets = [
        ("a whole run is faster than DuckDB", f"{whole / runs[-1]['seconds']:.2f} times", f"at least {FASTER_THAN_DUCKDB} times", whole / runs[-1]["seconds"] >= FASTER_THAN_DUCKDB),
        (f"{runs[-1]['segments']:,} segments cost as much as {runs[0]['segments']:,}", f"{growth:.2f} times", f"at most {GROWTH} times", growth <= GROWTH),
        (f"{len(definitions):,} definitions are checked and compiled", f"{seconds_to_check:.2f} s", f"under {CHECK_SECONDS} s", seconds_to_check < CHECK_SECONDS),
        ("peak memory", f"{peak:,.0f} MB", f"at most {MEMORY_MB:,.0f} MB", peak <= MEMORY_MB),
        ("segments with other members", f"{max(len(run['wrong']) for run in runs)}", "none", not any(run["wrong"] for run in runs)),
        ("runs that did not publish", f"{sum(run['report']['status'] != 'succeeded' for run in runs)}", "none", all(run["report"]["status"] == "succeeded" for run in runs)),
    ]
    print()
    for what, reached, target, met in targets:
        print(f"{what:48}{reached:>14}   {target:22}{'' if met else '← missed'}")
    for identifier, name, query, sql, (theirs, ours) in max((run["wrong"] for run in runs), key=len)[:20]:
        print(f"\n{identifier} ({name}): {theirs[0]:,} only by DuckDB (such as {theirs[1]}), {ours[0]:,} only by Alluvial (such as {ours[1]})\n  {query}\n  {sql}")
    return 0 if all(met for *_, met in targets) else 1


def step(run, name):
    return sum(seconds for step, seconds in run["steps"] if step == name)


if __name__ == "__main__":
    sys.exit(main())
