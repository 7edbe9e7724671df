"""What the benchmarks share: DuckDB, the binary, the demo shop, and running a command with its time and memory told."""

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
ZONE = "Europe/Copenhagen"
CURRENCY = "DKK"


def add_arguments(parser):
    """The options of every benchmark."""
    parser.add_argument("--customers", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--days", type=int, default=730, metavar="N")
    parser.add_argument("--as-of", type=datetime.date.fromisoformat, default=datetime.date(2025, 11, 18), metavar="DATE")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--memory-limit", default="3GB", metavar="SIZE")
    parser.add_argument("--alluvial", metavar="PATH", help="a binary that is there already, instead of building one")
    parser.add_argument("--keep", metavar="DIR", help="where the project and its lake go, and stay; a shop that is there is used again")


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
    """The binary: the one that is given, else one that is built for production."""
    if args.alluvial:
        return pathlib.Path(args.alluvial).resolve()
    say("building Alluvial for production")
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / ("alluvial.exe" if os.name == "nt" else "alluvial")


def in_folder(args, work):
    """Calls `work` with the folder that is kept, or with one that is thrown away."""
    folder = pathlib.Path(args.keep).resolve() if args.keep else pathlib.Path(tempfile.mkdtemp(prefix="alluvial-bench-"))
    try:
        return work(folder)
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)


def demo_shop(args, alluvial, folder):
    """A project with the demo shop landed, made unless it is there."""
    project = folder / "shop"
    landing = project / "lake" / "landing"
    if not landing.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([alluvial, "init", project, "--timezone", ZONE, "--currency", CURRENCY], check=True, stdout=sys.stderr)
        begin = time.monotonic()
        command = [alluvial, "--project", project, "demo", "--customers", str(args.customers), "--days", str(args.days), "--until", str(args.as_of)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        say(f"landed the demo shop in {time.monotonic() - begin:.1f} s")
    size = sum(file.stat().st_size for file in landing.rglob("*.parquet"))
    say(f"landed: {size / 1e6:,.0f} MB of Parquet")
    return project


def warm(folder):
    """Reads every file once, so that neither engine pays for the disk."""
    for file in folder.rglob("*.parquet"):
        with open(file, "rb") as open_file:
            while open_file.read(1 << 24):
                pass


def measured_run(command, **options):
    """Runs a command: its output, its exit code, its seconds, and the most memory that it held in MB."""
    begin = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, **options)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    # Linux tells kilobytes, macOS bytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return output, process.returncode, seconds, peak / 1e6


def duckdb_connection(args, folder, database=":memory:"):
    """DuckDB with the limits of the benchmark, in the shop's time zone. It spills into `folder`."""
    import duckdb

    settings = {"threads": args.threads, "memory_limit": args.memory_limit, "preserve_insertion_order": False}
    connection = duckdb.connect(str(database), config={**settings, "temp_directory": str(folder)})
    connection.execute(f"SET TimeZone = '{ZONE}'")
    return connection


def statement_name(sql):
    """The name of what a statement makes, if it makes something."""
    name = re.search(r"^(?:CREATE (?:TEMP )?(?:TABLE|VIEW)|DROP TABLE|SET VARIABLE) (\w+)", sql, re.MULTILINE)
    return name and name[1]


def limits(args):
    """The environment in which Alluvial has the limits of the benchmark."""
    engine = {"ALLUVIAL_ENGINE__MEMORY_LIMIT": args.memory_limit, "ALLUVIAL_ENGINE__THREADS": str(args.threads)}
    return {**os.environ, **engine}


def run_nightly(args, alluvial, project):
    """`alluvial run nightly`: its steps, its seconds and memory, and its report."""
    command = [alluvial, "--project", project, "--format", "json", "run", "nightly", "--as-of", args.as_of, "--force"]
    output, code, seconds, peak = measured_run(command, env=limits(args))
    if code != 0:
        sys.exit(f"alluvial run failed:\n{output}")
    report = json.loads(output)
    report = report[0] if isinstance(report, list) else report
    steps = [[step["step"], step["seconds"]] for step in report["steps"]]
    # Each step begins to count anew, so that the process's own peak is that of the last one.
    peak = max(peak, *(step["peak_rss_mb"] or 0 for step in report["steps"]))
    return {"steps": steps, "seconds": seconds, "peak_mb": peak}, report


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
