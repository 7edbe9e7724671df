"""Apache Superset, from PyPI, as a client of `alluvial serve` over the Postgres wire; run by hand.

    python3 tests/clients/superset.py [--alluvial target/debug/alluvial]

Installs Superset into target/superset-venv (about 0.9 GB), publishes two days of the sample in a folder that is thrown away,
starts a server and a Superset at free ports of this machine, and does by Superset's REST API what its users do: adds the
database, looks at schemas, tables and columns, makes datasets, draws charts, filters, asks in SQL Lab and stops a query. Every
answer must be what psycopg gets from the server itself. Exit code 1 is the first that differs, 2 a Superset that cannot be
installed or started.
"""

import argparse
import collections
import concurrent.futures
import datetime
import http.cookiejar
import importlib.metadata
import json
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import installed
from installed import ROOT

# Superset names some of what it imports nowhere, and does not start with newer ones of others.
PACKAGES = ["apache-superset==6.1.*", "psycopg2-binary", "rich", "cachetools", "Flask-Caching==2.3.1", "cachelib<0.14"]
DAYS = ("2026-11-17", "2026-11-18")
UTC = datetime.timezone.utc
# What Superset calls the types that Postgres has by these numbers.
TYPES = {16: "BOOLEAN", 20: "BIGINT", 23: "INTEGER", 25: "TEXT", 701: "DOUBLE_PRECISION", 1009: "ARRAY", 1082: "DATE", 1184: "TIMESTAMP", 1700: "NUMERIC"}
GRAINS = {
    "PT1S": 1, "PT5S": 5, "PT30S": 30, "PT1M": 60, "PT5M": 300, "PT10M": 600, "PT15M": 900, "PT30M": 1800, "PT1H": 3600, "P1D": 86400,
    "P1W": "week", "P1M": "month", "P3M": "quarter", "P1Y": "year",
}  # fmt: skip
# Filters as Superset's charts have them, and what each stands for.
FILTERS = [
    ("country", "==", "DK", "country = 'DK'"),
    ("country", "IN", ["DK", "<NULL>"], "country = 'DK' OR country IS NULL"),
    ("country", "NOT IN", ["DK", "SE"], "country NOT IN ('DK', 'SE')"),
    ("city", "ILIKE", "%K%", "city ILIKE '%K%'"),
    ("city", "NOT LIKE", "%K%", "city NOT LIKE '%K%'"),
    ("email_reachable", "IS TRUE", None, "email_reachable"),
    ("email_reachable", "IN", [False], "NOT email_reachable"),
    ("number_of_orders", ">", 1, "number_of_orders > 1"),
    ("amount_spent", "<=", "1000.5", "amount_spent <= 1000.5"),
    ("predicted_next_order_date", ">=", "2026-12-01", "predicted_next_order_date >= DATE '2026-12-01'"),
    ("created_at", "TEMPORAL_RANGE", "2026-01-01 : 2026-07-01", "created_at >= TIMESTAMPTZ '2026-01-01 00:00:00+00' AND created_at < TIMESTAMPTZ '2026-07-01 00:00:00+00'"),
    ("birthday", "TEMPORAL_RANGE", "1970-01-01 : 1990-01-01", "birthday >= DATE '1970-01-01' AND birthday < DATE '1990-01-01'"),
]
# Superset sends them written again: functions in capitals, and a limit of its own whether they have one or not.
STATEMENTS = [
    "SELECT segment, members, as_of FROM segment_sizes_latest ORDER BY members DESC, segment",
    "SELECT customer_id, created_at, amount_spent, tags, email_reachable, birthday FROM segment.vip ORDER BY customer_id",
    "WITH buyers AS (SELECT country, amount_spent FROM customer_profile_latest WHERE number_of_orders > 1) SELECT country, sum(amount_spent) AS spent FROM buyers GROUP BY 1 ORDER BY 1",
    "SELECT count(*) AS n FROM generate_series(1, 7) AS numbers",
    "SELECT 'a%b' AS percent, 5 % 3 AS rest",
]
VIRTUAL = "SELECT country, number_of_orders, created_at FROM customer_profile_latest WHERE number_of_orders > 1"
ENDLESS = "SELECT sum(length(a.order_id || b.order_id || c.order_id)) AS n FROM order_items a CROSS JOIN order_items b CROSS JOIN order_items c"


class Differs(Exception):
    """An answer is not what it should be."""


def expect(what, found, wanted):
    if found != wanted:
        raise Differs(f"{what}: got {found!r}, not {wanted!r}")


def ensure_packages():
    """Goes on in a virtual environment that has Superset."""
    if not installed.go_on_with("superset-venv", PACKAGES, ["--prefer-binary"]):
        print("Superset cannot be installed from PyPI: why is said above")
        sys.exit(2)
    return pathlib.Path(sys.executable).with_name("superset")


def publish(alluvial, project):
    """Makes a project with the sample's days; the secret of a reader."""
    for name in ("sql", "jobs", "data"):
        shutil.copytree(ROOT / name, project / name)
    shutil.copy(ROOT / "alluvial.toml", project)
    for words in (*(["run", "nightly", "--as-of", day] for day in DAYS), ["user", "add", "superset"]):
        done = subprocess.run([alluvial, "--project", project, "--format", "json", *words], capture_output=True, text=True)
        if done.returncode != 0:
            raise Differs(f"alluvial {' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout)[0]["secret"]


def serve(alluvial, project, started):
    """The port of a server over the project."""
    words = ["serve", "--postgres", "127.0.0.1:0", "--flight", "off", "--http", "off", "--no-scheduler"]
    server = subprocess.Popen([alluvial, "--project", project, *words], stderr=subprocess.PIPE, text=True)
    started.append(server)
    for line in server.stderr:
        door, _, at = line.strip().partition(": ")
        if door == "postgres":
            # Nobody else reads what it says, and a pipe that is full would hold it up.
            threading.Thread(target=server.stderr.read, daemon=True).start()
            return int(at.rpartition(":")[2])
    raise Differs("the server did not start")


class Superset:
    """A Superset with a user, asked by its REST API."""

    def __init__(self, program, home, started):
        home.mkdir()
        config, password = home / "superset_config.py", secrets.token_hex(16)
        config.write_text(f'SECRET_KEY = "{secrets.token_hex(32)}"\nSQLALCHEMY_DATABASE_URI = "sqlite:///{home}/superset.db"\nTALISMAN_ENABLED = False\n')
        variables = {**os.environ, "SUPERSET_CONFIG_PATH": str(config), "SUPERSET_HOME": str(home), "FLASK_APP": "superset"}
        admin = ["--username", "admin", "--firstname", "a", "--lastname", "b", "--email", "admin@example.com", "--password", password]
        self.log = home / "log"
        with self.log.open("w") as log, socket.create_server(("127.0.0.1", 0)) as free:
            options = {"cwd": home, "env": variables, "stdout": log, "stderr": log}
            for words in (["db", "upgrade"], ["fab", "create-admin", *admin], ["init"]):
                if subprocess.run([program, *words], **options).returncode != 0:
                    self.fails(f"superset {words[0]}")
            port = str(free.getsockname()[1])
            free.close()
            started.append(subprocess.Popen([program, "run", "--host", "127.0.0.1", "--port", port, "--with-threads"], **options))
        self.base = f"http://127.0.0.1:{port}"
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self.headers = {"Content-Type": "application/json", "Referer": self.base}
        self.until_up(started[-1])
        login = {"username": "admin", "password": password, "provider": "db"}
        self.headers["Authorization"] = "Bearer " + self.ask("POST", "security/login", login)["access_token"]
        self.headers["X-CSRFToken"] = self.ask("GET", "security/csrf_token/")["result"]

    def fails(self, what):
        print(f"`{what}` does not work here:\n{self.log.read_text()[-3000:]}")
        sys.exit(2)

    def until_up(self, process):
        patience = time.monotonic() + 180
        while process.poll() is None and time.monotonic() < patience:
            try:
                return self.opener.open(self.base + "/health", timeout=30).close()
            except OSError:
                time.sleep(0.5)
        self.fails("superset run")

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.base}/api/v1/{path}", data, self.headers, method=method)
        try:
            with self.opener.open(request, timeout=300) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            asked = "" if body is None or "sqlalchemy_uri" in body else f"\nasked: {json.dumps(body)}"
            raise Differs(f"{method} {path}: {error.code} {error.read().decode().strip()}{asked}") from None


def flat(value):
    """A value as charts have it: numbers rounded, moments in milliseconds."""
    if isinstance(value, datetime.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000
    if isinstance(value, datetime.date):
        return flat(datetime.datetime(value.year, value.month, value.day))
    if isinstance(value, list):
        return json.dumps(value)
    return value if value is None or isinstance(value, (bool, str)) else round(float(value), 6)


def beginning(moment, grain):
    """Where the interval of a moment begins, for those of a fixed length and for the others."""
    if isinstance(grain, int):
        return moment.timestamp() // grain * grain * 1000
    if grain == "week":
        return flat(moment.date() - datetime.timedelta(days=moment.weekday()))
    month = {"month": moment.month, "quarter": (moment.month - 1) // 3 * 3 + 1, "year": 1}[grain]
    return flat(moment.date().replace(month=month, day=1))


class Check:
    """Asks Superset and the server the same."""

    def __init__(self, superset, where):
        import psycopg2

        self.superset, self.where, self.asked = superset, where, 0
        self.connection = psycopg2.connect(dbname="alluvial", **where)
        self.connection.autocommit = True

    def direct(self, sql):
        """The columns with their types' numbers, and the rows, that the server gives."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return [(column.name, column.type_code) for column in cursor.description], cursor.fetchall()

    def add_database(self):
        uri = "postgresql+psycopg2://{user}:{password}@{host}:{port}/alluvial".format(**self.where)
        body = {"database_name": "Alluvial", "sqlalchemy_uri": uri}
        expect("connection test", self.superset.ask("POST", "database/test_connection/", body)["message"], "OK")
        self.database = self.superset.ask("POST", "database/", body)["id"]

    def structure(self):
        """Schemas, tables and columns; there are no keys and no indexes."""
        own = "n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg%'"
        _, rows = self.direct(f"SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'v') AND {own}")
        schemas = {schema: sorted(table for of, table in rows if of == schema) for schema, _ in rows}
        path = f"database/{self.database}"
        expect("schemas", set(self.superset.ask("GET", f"{path}/schemas/")["result"]) - {"information_schema"}, set(schemas))
        for schema, tables in schemas.items():
            listed = self.superset.ask("GET", f"{path}/tables/?q=(schema_name:{schema})")["result"]
            expect(f"tables of {schema}", sorted(table["value"] for table in listed), tables)
        for schema, table in (("public", "customer_profile_latest"), ("public", "customer_tags"), ("public", "segment_sizes"), ("segment", "vip")):
            columns, _ = self.direct(f'SELECT * FROM "{schema}"."{table}" LIMIT 0')
            shown = self.superset.ask("GET", f"{path}/table_metadata/?name={table}&schema={schema}")
            found = [(column["name"], column["type"]) for column in shown["columns"]]
            expect(f"columns of {table}", found, [(name, TYPES[number]) for name, number in columns])
            expect(f"keys of {table}", (shown["indexes"], shown["foreignKeys"], shown["primaryKey"]["name"]), ([], [], None))
        return len(schemas), len(rows)

    def dataset(self, schema, table, **more):
        dataset = self.superset.ask("POST", "dataset/", {"database": self.database, "schema": schema, "table_name": table, **more})["id"]
        found = self.superset.ask("GET", f"dataset/{dataset}")["result"]["columns"]
        columns, _ = self.direct(more.get("sql") or f'SELECT * FROM "{schema}"."{table}" LIMIT 0')
        is_time = sorted((name, TYPES[number] in ("DATE", "TIMESTAMP")) for name, number in columns)
        expect(f"dataset {table}", sorted((column["column_name"], column["is_dttm"]) for column in found), is_time)
        return dataset

    def chart(self, dataset, query):
        body = {"datasource": {"id": dataset, "type": "table"}, "queries": [{"row_limit": 10000, **query}], "result_format": "json", "result_type": "full", "force": True}
        result = self.superset.ask("POST", "chart/data", body)["result"][0]
        expect(f"chart {query}", result["error"], None)
        self.asked += 1
        return sorted((tuple(flat(row[name]) for name in result["colnames"] if name != "__timestamp") for row in result["data"]), key=repr)

    def charts_agree(self, dataset, query, sql):
        _, rows = self.direct(sql)
        expect(f"chart {query}", self.chart(dataset, query), sorted((tuple(map(flat, row)) for row in rows), key=repr))

    def charts(self, profile, segment, sizes, virtual):
        """Groups, measures, filters, rows as they are, the largest series, the pages of a table."""
        by_country = {"columns": ["country"], "metrics": ["count"], "orderby": [["count", False]]}
        measures = [measure("SUM", "amount_spent"), measure("AVG", "p_order_90d"), measure("MAX", "last_order_date"), measure("COUNT_DISTINCT", "lifecycle_stage")]
        asked = "country, count(*), sum(amount_spent), avg(p_order_90d), max(last_order_date), count(DISTINCT lifecycle_stage)"
        more = {"having": "count(*) > 20", "where": "number_of_orders > 0"}
        grouped = {**by_country, "metrics": ["count", *measures], "extras": more}
        self.charts_agree(profile, grouped, f"SELECT {asked} FROM customer_profile_latest WHERE number_of_orders > 0 GROUP BY 1 HAVING count(*) > 20")
        for column, op, value, sql in FILTERS:
            query = {**by_country, "filters": [{"col": column, "op": op, "val": value}]}
            self.charts_agree(profile, query, f"SELECT country, count(*) FROM customer_profile_latest WHERE {sql} GROUP BY 1")
        self.charts_agree(segment, {**by_country, "columns": ["lifecycle_stage"]}, "SELECT lifecycle_stage, count(*) FROM segment.vip GROUP BY 1")
        self.charts_agree(virtual, by_country, f"SELECT country, count(*) FROM ({VIRTUAL}) AS many GROUP BY 1")
        rows = {"columns": ["customer_id", "amount_spent", "tags", "created_at", "birthday"], "orderby": [["customer_id", True]], "row_limit": 50, "row_offset": 50}
        self.charts_agree(profile, rows, "SELECT customer_id, amount_spent, tags, created_at, birthday FROM customer_profile_latest ORDER BY 1 LIMIT 50 OFFSET 50")
        self.charts_agree(profile, {**by_country, "is_rowcount": True}, "SELECT count(*) FROM (SELECT DISTINCT country FROM customer_profile_latest) AS countries")
        members = measure("SUM", "members")
        largest = {"columns": [axis("as_of", "P1D"), "segment"], "metrics": [members], "series_columns": ["segment"], "series_limit": 5, "series_limit_metric": members}
        five = "SELECT segment FROM segment_sizes GROUP BY 1 ORDER BY sum(members) DESC LIMIT 5"
        self.charts_agree(sizes, largest, f"SELECT as_of, segment, sum(members) FROM segment_sizes WHERE segment IN ({five}) GROUP BY 1, 2")

    def grains(self, dataset, table, column, since, until):
        """Counts by every length of time that Superset offers, counted here from the rows."""
        begin, end = (datetime.datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (since, until))
        _, rows = self.direct(f"SELECT {column} FROM {table}")
        moments = [datetime.datetime.fromtimestamp(flat(moment) / 1000, UTC) for (moment,) in rows if moment]
        # A date has no hours.
        offered = {grain: length for grain, length in GRAINS.items() if table != "segment_sizes" or not grain.startswith("PT")}
        for grain, length in offered.items():
            counts = collections.Counter(beginning(moment, length) for moment in moments if begin <= moment < end)
            query = {"columns": [axis(column, grain)], "metrics": ["count"], "granularity": column, "time_range": f"{since} : {until}"}
            expect(f"{column} by {grain}", self.chart(dataset, query), sorted(((at, float(count)) for at, count in counts.items()), key=repr))

    def filter_values(self, dataset):
        for column in ("country", "lifecycle_stage", "email_reachable"):
            found = self.superset.ask("GET", f"datasource/table/{dataset}/column/{column}/values/")["result"]
            _, rows = self.direct(f"SELECT DISTINCT {column} FROM customer_profile_latest")
            expect(f"values of {column}", sorted(found, key=repr), sorted((value for (value,) in rows), key=repr))

    def execute(self, sql, schema, client):
        body = {"database_id": self.database, "schema": schema, "sql": sql, "client_id": client, "runAsync": False, "queryLimit": 1000}
        return self.superset.ask("POST", "sqllab/execute/", body)

    def sql_lab(self, sql, schema="public", same=None):
        answer = self.execute(sql, schema, secrets.token_hex(5))
        columns, rows = self.direct(same or sql)
        names = [name for name, _ in columns]
        expect(f"SQL Lab: {sql}", [column["name"] for column in answer["columns"]], names)
        found = [tuple(flat(row[name]) for name in names) for row in answer["data"]]
        expect(f"SQL Lab: {sql}", found, [tuple(value.isoformat() if isinstance(value, datetime.date) else flat(value) for value in row) for row in rows])
        self.asked += 1

    def stop(self):
        """What is stopped in SQL Lab runs no longer at the server."""
        client, patience = secrets.token_hex(5), time.monotonic() + 30
        running = concurrent.futures.ThreadPoolExecutor(1).submit(self.execute, ENDLESS, "public", client)
        while True:
            try:
                self.superset.ask("POST", "query/stop", {"client_id": client})
                break
            except Differs:
                # At first it is not known yet, or has no process yet.
                if running.done() or time.monotonic() > patience:
                    raise
                time.sleep(0.5)
        concurrent.futures.wait([running], timeout=30)
        expect("a query that was stopped in SQL Lab runs on", not running.done(), False)


def measure(aggregate, column):
    return {"expressionType": "SIMPLE", "aggregate": aggregate, "column": {"column_name": column}, "label": f"{aggregate} {column}"}


def axis(column, grain):
    return {"columnType": "BASE_AXIS", "expressionType": "SQL", "sqlExpression": column, "label": column, "timeGrain": grain}


def agree(check):
    check.add_database()
    print("added the database")
    schemas, tables = check.structure()
    print(f"found {schemas} schemas with {tables} tables, and their columns")
    profile, sizes = (check.dataset("public", table) for table in ("customer_profile_latest", "segment_sizes"))
    segment = check.dataset("segment", "vip")
    virtual = check.dataset("public", "buyers of more than one", sql=VIRTUAL)
    print("made datasets of a table, of a segment and of a query")
    check.charts(profile, segment, sizes, virtual)
    check.grains(profile, "customer_profile_latest", "created_at", "2025-10-03", "2026-11-05")
    check.grains(sizes, "segment_sizes", "as_of", "2026-11-01", "2026-11-18")
    check.filter_values(profile)
    print(f"drew {check.asked} charts")
    check.asked = 0
    for sql in STATEMENTS:
        check.sql_lab(sql)
    check.sql_lab("SELECT count(*) AS n FROM vip", "segment", "SELECT count(*) AS n FROM segment.vip")
    check.stop()
    print(f"asked {check.asked} times in SQL Lab, and stopped a query there")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alluvial", type=pathlib.Path, default=ROOT / "target" / "debug" / "alluvial", metavar="PATH", help="the binary")
    alluvial = parser.parse_args().alluvial.resolve()
    sys.stdout.reconfigure(line_buffering=True)
    program = ensure_packages()
    folder, started = pathlib.Path(tempfile.mkdtemp(prefix="alluvial-superset-")), []
    try:
        secret = publish(alluvial, folder / "shop")
        print("published two days of the sample")
        port = serve(alluvial, folder / "shop", started)
        superset = Superset(program, folder / "superset", started)
        print(f"started Superset {importlib.metadata.version('apache-superset')}")
        agree(Check(superset, {"host": "127.0.0.1", "port": port, "user": "superset", "password": secret}))
        print("Superset agrees")
    except Differs as difference:
        print(str(difference))
        return 1
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
