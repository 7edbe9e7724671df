"""Reads a running server with the clients that data teams have, and compares what each of them gets.

Called by `tests/it/serve_clients.rs` with the server's addresses and a user. Installs what it needs into a virtual
environment under `target/`; without a registry it says what it skips. Exit code 1 is a client that got something else.
"""

import argparse
import asyncio
import datetime
import decimal
import os
import sys

import installed

PACKAGES = ["psycopg[binary]", "asyncpg", "SQLAlchemy", "pyarrow", "adbc-driver-manager", "adbc-driver-flightsql", "adbc-driver-postgresql"]
PROFILE = "SELECT customer_id, number_of_orders, amount_spent, first_order_date, tags, p_order_90d FROM customer_profile_latest ORDER BY customer_id"


def ensure_packages():
    """Goes on in a virtual environment that has the clients."""
    if not installed.go_on_with("client-venv", PACKAGES):
        print("skipped: the clients cannot be installed from PyPI")
        sys.exit(0)


def expect(what, found, wanted):
    if found != wanted:
        print(f"{what}: got {found!r}, not {wanted!r}")
        sys.exit(1)


def psycopg_reads(args):
    """Text and binary, parameters, server-side cursors, COPY."""
    import psycopg

    host, port = args.postgres.rsplit(":", 1)
    with psycopg.connect(host=host, port=port, user=args.user, password=args.secret, dbname="alluvial") as connection:
        rows = connection.execute(PROFILE).fetchall()
        expect("psycopg", [row[0] for row in rows], args.customers)
        ann = rows[0]
        expect("psycopg", ann[1:3], (2, decimal.Decimal("350.00")))
        expect("psycopg", ann[3], datetime.datetime(2025, 2, 1, 10, tzinfo=datetime.timezone.utc))
        expect("psycopg", ann[4], ["vip", "news"])
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                cursor.execute(PROFILE)
                expect(f"psycopg binary={binary}", cursor.fetchall(), rows)
                cursor.execute("SELECT count(*) FROM customer_profile_latest WHERE number_of_orders >= %s AND country = %s", (1, "DK"))
                expect(f"psycopg binary={binary}", cursor.fetchone(), (1,))
        # The fifth time a statement is prepared at the server.
        for _ in range(8):
            expect("psycopg", connection.execute("SELECT number_of_orders FROM customer_profile_latest WHERE customer_id = %s", ("a",)).fetchone(), (2,))
        with connection.cursor(name="walk") as cursor:
            cursor.itersize = 2
            cursor.execute(PROFILE)
            expect("psycopg server-side cursor", [row[0] for row in cursor], args.customers)
        for options, wanted in (("", b"a\t350.00\n"), ("(FORMAT csv)", b"a,350.00\n")):
            with connection.cursor().copy(f"COPY (SELECT customer_id, amount_spent FROM customer_profile_latest WHERE customer_id = 'a') TO STDOUT {options}") as copy:
                expect("psycopg COPY", b"".join(bytes(part) for part in copy), wanted)
        with connection.cursor().copy(f"COPY ({PROFILE}) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["text", "int8", "numeric", "timestamptz", "text[]", "float8"])
            expect("psycopg COPY binary", [tuple(row) for row in copy.rows()], rows)
        try:
            connection.execute("DELETE FROM orders")
        except psycopg.errors.ReadOnlySqlTransaction:
            connection.rollback()
        else:
            expect("psycopg", "a write went through", None)
    return rows


def asyncpg_reads(args, rows):
    """Everything in binary, its own preparation of types, cursors."""
    import asyncpg

    async def read():
        host, port = args.postgres.rsplit(":", 1)
        connection = await asyncpg.connect(host=host, port=int(port), user=args.user, password=args.secret, database="alluvial")
        expect("asyncpg", [tuple(row) for row in await connection.fetch(PROFILE)], rows)
        count = await connection.fetchval("SELECT count(*) FROM customer_profile_latest WHERE number_of_orders >= $1", 1)
        expect("asyncpg", count, sum(row[1] >= 1 for row in rows))
        async with connection.transaction():
            walked = [row["customer_id"] async for row in connection.cursor(PROFILE, prefetch=2)]
        expect("asyncpg cursor", walked, args.customers)
        await connection.close()

    asyncio.run(read())


def sqlalchemy_reflects(args):
    """Every table and view with its columns."""
    import sqlalchemy

    host, port = args.postgres.rsplit(":", 1)
    url = sqlalchemy.URL.create("postgresql+psycopg", args.user, args.secret, host, int(port), "alluvial")
    engine = sqlalchemy.create_engine(url)
    inspector = sqlalchemy.inspect(engine)
    expect("SQLAlchemy schemas", {"public", "segment"} <= set(inspector.get_schema_names()), True)
    tables = inspector.get_table_names(schema="public")
    expect("SQLAlchemy tables", {"customer_profile", "segment_members", "orders", "snapshots"} <= set(tables), True)
    views = inspector.get_view_names(schema="segment")
    expect("SQLAlchemy views", "danes" in views, True)
    columns = {column["name"]: str(column["type"]) for column in inspector.get_columns("customer_profile_latest", schema="public")}
    expect("SQLAlchemy columns", columns.get("number_of_orders"), "BIGINT")
    with engine.connect() as connection:
        for table in tables:
            connection.execute(sqlalchemy.text(f'SELECT * FROM public."{table}" LIMIT 1')).fetchall()


def adbc_reads(args, rows):
    """Arrow by Flight SQL, and by Postgres's binary COPY."""
    from adbc_driver_flightsql import DatabaseOptions, dbapi as flight
    from adbc_driver_postgresql import dbapi as postgres

    wanted = [row[0] for row in rows]
    options = {"username": args.user, "password": args.secret}
    with flight.connect(f"grpc://{args.flight}", db_kwargs=options) as connection, connection.cursor() as cursor:
        cursor.execute(PROFILE)
        table = cursor.fetch_arrow_table()
        expect("ADBC Flight SQL", table["customer_id"].to_pylist(), wanted)
        expect("ADBC Flight SQL", table["amount_spent"].to_pylist()[0], decimal.Decimal("350.00"))
        expect("ADBC Flight SQL", table["tags"].to_pylist()[0], ["vip", "news"])
        cursor.execute("SELECT count(*) AS n FROM customer_profile_latest WHERE number_of_orders >= $1", (1,))
        expect("ADBC Flight SQL parameters", cursor.fetchone(), (sum(row[1] >= 1 for row in rows),))
        objects = connection.adbc_get_objects(depth="tables", db_schema_filter="segment").read_all().to_pylist()
        names = [table["table_name"] for table in objects[0]["catalog_db_schemas"][0]["db_schema_tables"]]
        expect("ADBC Flight SQL objects", "danes" in names, True)
    _ = DatabaseOptions
    url = f"postgresql://{args.user}:{args.secret}@{args.postgres}/alluvial"
    with postgres.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT customer_id, number_of_orders, p_order_90d FROM customer_profile_latest ORDER BY customer_id")
        table = cursor.fetch_arrow_table()
        expect("ADBC PostgreSQL", table["customer_id"].to_pylist(), wanted)
        expect("ADBC PostgreSQL", table["number_of_orders"].to_pylist(), [row[1] for row in rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", required=True)
    parser.add_argument("--flight", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--customers", required=True, type=lambda text: text.split(","))
    args = parser.parse_args()
    args.secret = os.environ["ALLUVIAL_TEST_SECRET"]
    ensure_packages()
    rows = psycopg_reads(args)
    print("psycopg agrees")
    asyncpg_reads(args, rows)
    print("asyncpg agrees")
    sqlalchemy_reflects(args)
    print("SQLAlchemy agrees")
    adbc_reads(args, rows)
    print("ADBC agrees")


if __name__ == "__main__":
    main()
