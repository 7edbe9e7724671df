//! What Postgres's clients and tools ask in Postgres's own words, and how sessions know each other.

use std::time::{Duration, Instant};

use crate::landing_files::TinyShop;
use crate::serving::{Serving, rows, shown, state, state_of, user};

/// The statements of Apache Superset (SQLAlchemy 1.4) about tables, with the number of a table.
fn of_tools(oid: &str) -> Vec<(String, Vec<&'static str>)> {
    let domains = "SELECT t.typname as \"name\", pg_catalog.format_type(t.typbasetype, t.typtypmod) as \"attype\", \
         not t.typnotnull as \"nullable\", t.typdefault as \"default\", pg_catalog.pg_type_is_visible(t.oid) as \"visible\", \
         n.nspname as \"schema\" FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
         WHERE t.typtype = 'd' AND n.nspname <> 'information_schema'";
    let primary_key = format!(
        "SELECT a.attname FROM pg_attribute a JOIN (SELECT unnest(ix.indkey) attnum, generate_subscripts(ix.indkey, 1) ord \
         FROM pg_index ix WHERE ix.indrelid = {oid} AND ix.indisprimary) k ON a.attnum=k.attnum WHERE a.attrelid = {oid} ORDER BY k.ord"
    );
    let indexes = format!(
        "SELECT i.relname as relname, ix.indisunique, ix.indexprs, a.attname, a.attnum, c.conrelid, ix.indkey::varchar, \
         ix.indoption::varchar, i.reloptions, am.amname, pg_get_expr(ix.indpred, ix.indrelid), ix.indnkeyatts as indnkeyatts \
         FROM pg_class t join pg_index ix on t.oid = ix.indrelid join pg_class i on i.oid = ix.indexrelid \
         left outer join pg_attribute a on t.oid = a.attrelid and a.attnum = ANY(ix.indkey) \
         left outer join pg_constraint c on (ix.indrelid = c.conrelid and ix.indexrelid = c.conindid and c.contype in ('p', 'u', 'x')) \
         left outer join pg_am am on i.relam = am.oid \
         WHERE t.relkind IN ('r', 'v', 'f', 'm', 'p') and t.oid = {oid} and ix.indisprimary = 'f' ORDER BY t.relname, i.relname"
    );
    let unique = format!(
        "SELECT cons.conname as name, cons.conkey as key, a.attnum as col_num, a.attname as col_name \
         FROM pg_catalog.pg_constraint cons join pg_attribute a on cons.conrelid = a.attrelid AND a.attnum = ANY(cons.conkey) \
         WHERE cons.conrelid = {oid} AND cons.contype = 'u'"
    );
    let stored =
        format!("SELECT relkind, reloptions IS NULL FROM pg_class WHERE oid = {oid} AND relhasindex = 'false'");
    vec![
        (domains.to_owned(), vec![]),
        (primary_key, vec![]),
        (indexes, vec![]),
        (unique, vec![]),
        (stored, vec!["r t"]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgres_understands_is_understood() {
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let server = Serving::start(&shop);
    let client = server.connect("bi", &secret).await;
    let oid = rows(&client, "SELECT oid FROM pg_class WHERE relname = 'customer_profile_latest'").await.remove(0);
    for (sql, wanted) in of_tools(&oid) {
        assert_eq!(rows(&client, &sql).await, wanted, "{sql}");
    }
    for (sql, wanted) in [
        // Templates of times.
        ("SELECT to_char(as_of, 'DD.MM.YYYY') FROM snapshots", "01.03.2026"),
        ("SELECT to_char(as_of, '%d.%m.%Y') FROM snapshots", "01.03.2026"),
        (
            "SELECT count(*) FROM customer_profile_latest WHERE first_order_date >= TO_TIMESTAMP('2025-02-01 10:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') AND customer_id = 'a'",
            "1",
        ),
        (
            "SELECT count(*) FROM snapshots WHERE as_of >= TO_DATE('2026-03-01', 'YYYY-MM-DD') AND as_of < TO_DATE('20260302', 'YYYYMMDD')",
            "1",
        ),
        // Intervals times numbers.
        (
            "SELECT DATE_TRUNC('hour', first_order_date) + INTERVAL '5 minutes' * FLOOR(EXTRACT(MINUTE FROM first_order_date) / 5 + 2.5) FROM customer_profile_latest WHERE customer_id = 'a'",
            "2025-02-01 10:10:00.000000+00",
        ),
        (
            "SELECT INTERVAL '1 month' * 1.5, 2 * INTERVAL '1 day', INTERVAL '1 hour' / 4",
            "1 mon 15 days 2 days 00:15:00",
        ),
        ("SELECT COUNT(*) AS n FROM GENERATE_SERIES(1, 7) AS numbers", "7"),
        // What is null is null.
        (
            "SELECT CAST(NULL AS INTERVAL), INTERVAL '1 day', max(CASE WHEN false THEN INTERVAL '1 day' END)",
            "- 1 day -",
        ),
        ("SELECT count(*) FROM pg_namespace WHERE nspname IN ('information_schema', 'pg_catalog', 'landing')", "2"),
        ("SELECT localtimestamp < now() + INTERVAL '1 day', current_timestamp = now()", "t t"),
        ("SELECT current_user = session_user, current_user", "t bi"),
    ] {
        assert_eq!(rows(&client, sql).await, [wanted], "{sql}");
    }
    let columns = "SELECT column_name, ordinal_position, data_type, udt_name, is_nullable, numeric_precision, numeric_scale, \
                   datetime_precision, character_maximum_length FROM information_schema.columns \
                   WHERE table_schema = 'public' AND table_name = 'customer_profile_latest' \
                   AND column_name IN ('as_of', 'customer_id', 'number_of_orders', 'amount_spent', 'tags', 'email_reachable', 'first_order_date', 'p_order_90d') \
                   ORDER BY ordinal_position";
    let of_columns = rows(&client, columns).await;
    let wanted = [
        "date date",
        "text text",
        "ARRAY _text",
        "boolean bool",
        "bigint int8",
        "numeric numeric",
        "timestamp with time zone timestamptz",
        "double precision float8",
    ];
    for wanted in wanted {
        assert!(of_columns.iter().any(|row| row.contains(&format!(" {wanted} "))), "{wanted}: {of_columns:#?}");
    }
    assert_eq!(of_columns[0], "as_of 1 date date YES - - 0 -");
    let typed = client.prepare("SELECT ordinal_position, data_type FROM information_schema.columns").await.unwrap();
    assert_eq!(typed.columns().iter().map(|column| column.type_().name()).collect::<Vec<_>>(), ["int4", "text"]);
    let typed = client
        .prepare("SELECT now(), localtimestamp, CAST(localtimestamp AS TIMESTAMPTZ) AS at, to_timestamp(0) AS zero")
        .await
        .unwrap();
    let types: Vec<&str> = typed.columns().iter().map(|column| column.type_().name()).collect();
    assert_eq!(types, ["timestamptz", "timestamp", "timestamptz", "timestamptz"]);

    // In binary, too.
    let binary = client.query_one("SELECT CAST(NULL AS INTERVAL) AS none, now() AS now", &[]).await.unwrap();
    assert!(binary.columns()[0].type_().name() == "interval" && is_null(&binary, 0) && !is_null(&binary, 1));
    for (sql, wanted) in [
        ("SELECT to_char(as_of, 'YYYY-MM-DDTHH24') FROM snapshots", "0A000"),
        ("SELECT to_char(amount_spent, '999.99') FROM customer_profile_latest", "0A000"),
        ("SELECT to_date(customer_id, 'YYYY-MM-DD') FROM customer_profile_latest", "22007"),
        ("SELECT INTERVAL '1 day' / 0", "22012"),
    ] {
        assert_eq!(state(&client, sql).await, wanted, "{sql}");
    }
}

/// Whether a value is null, whatever its type.
fn is_null(row: &tokio_postgres::Row, place: usize) -> bool {
    struct Null(bool);
    impl<'a> tokio_postgres::types::FromSql<'a> for Null {
        fn from_sql(
            _: &tokio_postgres::types::Type,
            _: &'a [u8],
        ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
            Ok(Self(false))
        }

        fn from_sql_null(_: &tokio_postgres::types::Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
            Ok(Self(true))
        }

        fn accepts(_: &tokio_postgres::types::Type) -> bool {
            true
        }
    }
    row.get::<_, Null>(place).0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_finds_names_by_its_path_and_stops_its_users_sessions_only() {
    let shop = TinyShop::after_a_night();
    let bi = user(&shop, "bi", &[]);
    let other = user(&shop, "other", &[]);
    let admin = user(&shop, "admin", &["--role", "admin"]);
    let server = Serving::start(&shop);
    let client = server.connect("bi", &bi).await;

    // Names without a schema are found in the schemas of the path, in their order.
    let members = "SELECT count(*) FROM danes";
    assert_eq!(state(&client, members).await, "42P01");
    let prepared = client.prepare("SELECT current_schema()").await.unwrap();
    rows(&client, "set search_path = \"segment\"").await;
    assert_eq!(rows(&client, members).await, ["2"]);
    assert_eq!(rows(&client, "SHOW search_path").await, ["segment"]);
    assert_eq!(rows(&client, "SELECT current_schema(), current_schemas(true)").await, ["segment {pg_catalog,segment}"]);
    assert_eq!(client.query_one(&prepared, &[]).await.unwrap().get::<_, String>(0), "segment");
    assert_eq!(state(&client, "SELECT * FROM orders").await, "42P01");
    assert_eq!(
        rows(
            &client,
            "WITH danes AS (SELECT 7 AS n) SELECT danes.n, b.n FROM danes, (SELECT count(*) AS n FROM buyers) b"
        )
        .await,
        ["7 3"]
    );
    // What there is not, and what the user may not see, is passed over.
    rows(&client, "SET search_path TO nowhere, landing, Segment, public").await;
    assert_eq!(rows(&client, "SELECT current_schemas(false)").await, ["{segment,public}"]);
    let joined = "SELECT count(*) FROM danes d JOIN customer_profile_latest ON customer_profile_latest.customer_id = d.customer_id";
    assert_eq!(rows(&client, joined).await, ["2"]);
    assert_eq!(state(&client, "SELECT * FROM customers").await, "42P01");
    assert_eq!(state(&client, "SELECT * FROM customer_contacts").await, "42501");
    rows(&client, "BEGIN; SET LOCAL search_path = ''").await;
    assert_eq!(rows(&client, "SELECT current_schema() IS NULL").await, ["t"]);
    rows(&client, "ROLLBACK; RESET search_path").await;
    assert_eq!(rows(&client, "SELECT current_schema(), (SELECT count(*) > 0 FROM orders)").await, ["public t"]);
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(server.postgres.port()).user("admin").password(&admin).dbname("alluvial");
    config.options("-csearch_path=landing,\\ public").application_name("a tool");
    let (boss, line) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(line);
    assert_eq!(rows(&boss, "SHOW search_path").await, ["landing, public"]);
    let landed = "SELECT (SELECT count(*) FROM customers) = (SELECT count(*) FROM landing.customers)";
    assert_eq!(rows(&boss, landed).await, ["t"]);

    // Everybody sees their own sessions, and an admin all; statements are told to whoever asked them.
    let second = server.connect("bi", &bi).await;
    let stranger = server.connect("other", &other).await;
    let pid = async |client: &tokio_postgres::Client| rows(client, "SELECT pg_backend_pid()").await.remove(0);
    let (first_pid, second_pid) = (pid(&client).await, pid(&second).await);
    assert_ne!(first_pid, second_pid);
    let seen = "SELECT datname, usename, state, query FROM pg_stat_activity WHERE pid <> pg_backend_pid() ORDER BY pid";
    assert_eq!(rows(&client, seen).await, ["alluvial bi idle SELECT pg_backend_pid()"]);
    let own = rows(&client, "SELECT state, client_addr, query_start >= backend_start, query FROM pg_catalog.pg_stat_activity WHERE usename = current_user AND pid = pg_backend_pid()").await;
    assert!(own[0].starts_with("active 127.0.0.1 t SELECT state"), "{own:?}");
    assert_eq!(rows(&stranger, "SELECT count(*) FROM pg_stat_activity").await, ["1"]);
    let all = rows(&boss, "SELECT usename, application_name, query FROM pg_stat_activity ORDER BY pid").await;
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.iter().any(|row| row == "bi  <insufficient privilege>"), "{all:?}");
    assert!(all.iter().any(|row| row.starts_with("admin a tool SELECT usename")), "{all:?}");

    // Nobody stops a stranger's session; one's own can be stopped and ended, an admin's are all.
    let endless = "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    for sql in [
        format!("SELECT pg_cancel_backend({first_pid})"),
        format!("SELECT pg_terminate_backend({first_pid})"),
        "SELECT pg_cancel_backend(999999)".to_owned(),
    ] {
        assert_eq!(rows(&stranger, &sql).await, ["f"], "{sql}");
    }
    assert_eq!(rows(&stranger, "SELECT pg_cancel_backend(NULL) IS NULL").await, ["t"]);
    let stopped = async |by: &tokio_postgres::Client, sql: String| {
        let begun = Instant::now();
        let (ended, ()) = tokio::join!(client.simple_query(endless), async {
            // Until it runs there is nothing to stop.
            let busy = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {first_pid} AND state = 'active'");
            while rows(by, &busy).await != ["1"] {
                assert!(begun.elapsed() < Duration::from_secs(20), "it does not run");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(rows(by, &sql).await, ["t"], "{sql}");
        });
        let ended = ended.err().unwrap();
        (state_of(&ended), shown(&ended))
    };
    let explained = rows(&second, &format!("EXPLAIN SELECT pg_terminate_backend({first_pid})")).await;
    assert!(!explained.is_empty());
    assert_eq!(stopped(&second, format!("SELECT pg_cancel_backend({first_pid})")).await.0, "57014");
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    let by_superset =
        format!("SELECT pg_terminate_backend(pg_stat_activity.pid) FROM pg_stat_activity WHERE pid='{first_pid}'");
    let (state, words) = stopped(&boss, by_superset).await;
    assert!(state == "57P01" && words.contains("pg_terminate_backend"), "{state}: {words}");
    assert_eq!(rows(&boss, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'bi'").await, ["1"]);
}
