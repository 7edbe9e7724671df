//! `alluvial serve` through a real client of Postgres: what is seen, by whom, of which day.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};

use crate::landing_files::TinyShop;
use crate::serving::{Serving, rows, shown, state, state_of, user};

const D1: &str = "2026-03-01";
const D2: &str = "2026-03-02";
const D3: &str = "2026-03-03";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_sees_one_state_and_the_next_one_the_new_day() {
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let server = Serving::start(&shop);
    let mut client = server.connect("bi", &secret).await;
    let newest = client.prepare("SELECT CAST(max(as_of) AS VARCHAR) AS day FROM customer_profile").await.unwrap();
    let day = async |client: &tokio_postgres::Client| client.query_one(&newest, &[]).await.unwrap().get::<_, String>(0);
    assert_eq!(day(&client).await, D1);
    let before = rows(&client, "SELECT count(*) FROM customer_profile").await;

    // What was asked before is known, until there is a new day.
    let latest = "SELECT DISTINCT as_of FROM segment_sizes_latest";
    let known = || {
        let (_, metrics) = server.page("/metrics");
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("alluvial_known_answers_total{door=\"postgres\"} "));
        line.unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(rows(&client, latest).await, [D1]);
    let answered = known();
    assert_eq!(rows(&client, latest).await, [D1]);
    assert_eq!(known(), answered + 1);
    rows(&client, "SELECT now(), as_of FROM segment_sizes_latest").await;
    rows(&client, "SELECT now(), as_of FROM segment_sizes_latest").await;
    assert_eq!(known(), answered + 1, "what depends on the time is computed");

    // A statement that has begun goes on with the state that it began with.
    let transaction = client.transaction().await.unwrap();
    let open =
        transaction.bind("SELECT customer_id, as_of FROM customer_profile ORDER BY customer_id", &[]).await.unwrap();
    let first = transaction.query_portal(&open, 1).await.unwrap();
    shop.night(D2);
    let rest = transaction.query_portal(&open, 0).await.unwrap();
    assert_eq!(vec![(first.len() + rest.len()).to_string()], before);
    transaction.commit().await.unwrap();

    // The next one, and one that was prepared before, read the new day.
    assert_eq!(day(&client).await, D2);
    assert_eq!(rows(&client, latest).await, [D2]);
    assert_eq!(rows(&client, "SELECT as_of FROM snapshots ORDER BY as_of").await, [D1, D2]);

    // A session can be pinned to a day, and then sees nothing later.
    rows(&client, &format!("SET alluvial.as_of = '{D1}'")).await;
    assert_eq!(rows(&client, latest).await, [D1]);
    assert_eq!(rows(&client, "SHOW alluvial.as_of").await, [D1]);
    assert_eq!(day(&client).await, D1);
    assert_eq!(state(&client, "SELECT * FROM orders").await, "55000");
    assert_eq!(state(&client, "SET alluvial.as_of = 'yesterday'").await, "22023");
    rows(&client, "SET alluvial.as_of = '2020-01-01'").await;
    assert_eq!(state(&client, latest).await, "22023");
    rows(&client, "RESET alluvial.as_of").await;
    assert_eq!(rows(&client, latest).await, [D2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_of_the_contract_agree_with_each_other() {
    let shop = TinyShop::new();
    let secret = user(&shop, "bi", &["--role", "admin"]);
    let server = Serving::start(&shop);
    let client = server.connect("bi", &secret).await;
    // Nothing is published yet, and that is no failure.
    assert_eq!(rows(&client, "SELECT count(*) FROM customer_profile").await, ["0"]);
    for day in [D1, D2, D3] {
        shop.night(day);
        let differing = "SELECT p.customer_id FROM customer_profile_latest p LEFT JOIN \
                         (SELECT customer_id, sum(net_amount) AS spent FROM orders WHERE is_counted GROUP BY customer_id) o \
                         ON o.customer_id = p.customer_id WHERE p.amount_spent <> coalesce(o.spent, 0)";
        assert_eq!(rows(&client, differing).await, [""; 0], "{day}");
        let counted = rows(&client, "SELECT count(*), sum(net_amount) FROM orders WHERE is_counted").await;
        assert!(!counted[0].starts_with('0'), "{counted:?}");
        for segment in ["buyers", "repeat", "prospects", "danes"] {
            let all = rows(&client, &format!("SELECT customer_id FROM segment.{segment} ORDER BY 1")).await;
            let members = format!(
                "SELECT customer_id FROM segment_members WHERE segment = '{segment}' AND as_of = DATE '{day}' ORDER BY 1"
            );
            assert_eq!(all, rows(&client, &members).await, "{segment} {day}");
            let count = rows(&client, &format!("SELECT count(*) FROM segment.{segment}")).await;
            assert_eq!(count, [all.len().to_string()], "{segment} {day}");
        }
    }
    assert_eq!(
        rows(&client, "SELECT customer_id, tag FROM customer_tags ORDER BY 1, 2").await,
        ["a news", "a vip", "c news"]
    );
    assert_eq!(rows(&client, "SELECT customer_id, list FROM customer_lists").await, ["a autumn"]);
    assert_eq!(rows(&client, "SELECT email FROM customer_contacts WHERE customer_id = 'a'").await, ["ann@example.com"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM landing.orders").await, ["7"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM segment.danes WHERE city = 'Odense'").await, ["2"]);
    // How many there are is known without a row being read.
    let plan = rows(&client, "EXPLAIN SELECT count(*) FROM segment.danes").await.join("\n");
    assert!(!plan.contains("DataSourceExec: file_groups"), "{plan}");
    // The newest rows are the newest, whichever way days are put together.
    let newest = "SELECT as_of, customer_id FROM customer_profile ORDER BY as_of DESC, customer_id LIMIT 3";
    let days = |rows: Vec<String>| rows.into_iter().map(|row| row[..10].to_owned()).collect::<Vec<_>>();
    assert_eq!(days(rows(&client, newest).await), [D3, D3, D3]);
    let united = [D1, D2, D3]
        .map(|day| {
            format!("SELECT DATE '{day}' AS as_of, customer_id FROM customer_profile WHERE as_of = DATE '{day}'")
        })
        .join(" UNION ALL ");
    let newest = format!("SELECT * FROM ({united}) ORDER BY as_of DESC, customer_id LIMIT 3");
    assert_eq!(days(rows(&client, &newest).await), [D3, D3, D3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_what_their_role_allows_and_nobody_else_sees_anything() {
    let shop = TinyShop::after_a_night();
    let reader = user(&shop, "reader", &[]);
    let marketer = user(&shop, "marketer", &["--role", "marketer"]);
    let admin = user(&shop, "admin", &["--role", "admin"]);
    let partner = user(&shop, "partner", &["--segment", "danes"]);
    let late = user(&shop, "late", &["--until", "2026-04-02"]);
    let server = Serving::start(&shop);

    let client = server.connect("reader", &reader).await;
    assert_eq!(state(&client, "SELECT * FROM customer_contacts").await, "42501");
    assert_eq!(state(&client, "SELECT * FROM landing.orders").await, "42501");
    let listed = "SELECT table_name FROM information_schema.tables WHERE table_name IN ('customer_contacts', 'orders') ORDER BY 1";
    assert_eq!(rows(&client, listed).await, ["orders"]);
    let listed = rows(&client, "SELECT relname FROM pg_catalog.pg_class WHERE relname = 'customer_contacts'").await;
    assert_eq!(listed, [""; 0]);
    let client = server.connect("marketer", &marketer).await;
    assert_eq!(state(&client, "SELECT * FROM customer_contacts").await, "00000");
    assert_eq!(state(&client, "SELECT * FROM landing.orders").await, "42501");
    let client = server.connect("admin", &admin).await;
    assert_eq!(state(&client, "SELECT * FROM landing.customers").await, "00000");
    let client = server.connect("partner", &partner).await;
    assert_eq!(rows(&client, "SELECT customer_id FROM segment.danes ORDER BY 1").await, ["a", "c"]);
    assert_eq!(state(&client, "SELECT * FROM segment.buyers").await, "42P01");
    assert_eq!(state(&client, "SELECT * FROM customer_profile").await, "42501");

    let refused = async |name: &str, secret: &str| state_of(&server.try_connect(name, secret).await.err().unwrap());
    assert_eq!(refused("reader", &marketer).await, "28P01");
    assert_eq!(refused("nobody", &reader).await, "28P01");
    assert_eq!(refused("late", &late).await, "28P01");
    assert_eq!(refused("postgres", "postgres").await, "28P01");
    assert_eq!(refused("../key", "").await, "28P01");

    // Revoked, a session ends and so does what it runs.
    let client = server.connect("reader", &reader).await;
    let endless = client.simple_query(
        "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
    );
    let begun = Instant::now();
    let (ended, ()) = tokio::join!(endless, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(shop.run(&["user", "revoke", "reader"]).code, 0);
    });
    let ended = ended.err().unwrap();
    assert!(["57P01", "closed"].contains(&state_of(&ended).as_str()), "{}", shown(&ended));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(refused("reader", &reader).await, "28P01");
    // Neither secrets nor addresses of customers are ever logged.
    let said = server.said();
    assert!(said.contains("a login failed") && !said.contains("alv_") && !said.contains("@example.com"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_can_be_written_and_no_file_read() {
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "admin", &["--role", "admin"]);
    let server = Serving::start(&shop);
    let client = server.connect("admin", &secret).await;
    let before = shop.files("lake");
    for (sql, wanted) in [
        ("INSERT INTO orders SELECT * FROM orders", "25006"),
        ("UPDATE orders SET net_amount = 0", "25006"),
        ("DELETE FROM orders", "25006"),
        ("TRUNCATE orders", "25006"),
        ("DROP TABLE orders", "25006"),
        ("CREATE TABLE mine AS SELECT 1", "25006"),
        ("CREATE VIEW mine AS SELECT 1", "25006"),
        ("SELECT * INTO mine FROM orders", "25006"),
        ("CREATE SCHEMA mine", "25006"),
        ("CREATE FUNCTION f(INT) RETURNS INT RETURN 1", "25006"),
        ("ALTER TABLE orders ADD COLUMN x INT", "25006"),
        ("EXPLAIN ANALYZE INSERT INTO orders SELECT * FROM orders", "25006"),
        ("GRANT ALL ON orders TO public", "25006"),
        ("COPY orders FROM '/etc/passwd'", "25006"),
        ("COPY orders TO '/tmp/stolen.csv'", "42501"),
        ("COPY (SELECT 1) TO PROGRAM 'cat'", "42501"),
        ("SELECT * FROM '/etc/passwd'", "42P01"),
        ("SELECT * FROM 'lake/state/users/admin.json'", "42P01"),
        ("SET datafusion.execution.batch_size = 1", "42704"),
        ("SET ROLE postgres", "42501"),
        ("SET default_transaction_read_only = off", "25006"),
        ("LOAD 'evil'", "25006"),
    ] {
        let found = state(&client, sql).await;
        assert!(found == wanted || (found == "42601" && !sql.contains("orders")), "{sql}: {found}");
    }
    for sql in ["CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", "SELECT * FROM read_csv('/etc/passwd')"]
    {
        assert_ne!(state(&client, sql).await, "00000", "{sql}");
    }
    assert_eq!(before, shop.files("lake"));
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_every_type_arrive_as_they_are() {
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let server = Serving::start(&shop);
    let client = server.connect("bi", &secret).await;
    let sql = "SELECT customer_id, number_of_orders, amount_spent, first_order_date, birthday, tags, email_reachable, \
                      p_order_90d IS NOT NULL AS scored FROM customer_profile_latest WHERE customer_id = 'a'";
    let shown = rows(&client, sql).await;
    assert_eq!(shown, ["a 2 350.00 2025-02-01 10:00:00.000000+00 - {vip,news} t t"].map(str::to_owned));
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>("customer_id"), "a");
    assert_eq!(row.get::<_, i64>("number_of_orders"), 2);
    assert_eq!(row.get::<_, Vec<String>>("tags"), ["vip", "news"]);
    assert!(row.get::<_, bool>("email_reachable"));
    assert_eq!(row.columns()[2].type_().name(), "numeric");
    assert_eq!(row.columns()[3].type_().name(), "timestamptz");
    assert_eq!(row.columns()[4].type_().name(), "date");

    // Parameters of several types, and what is asked of a statement before it runs.
    let statement = client
        .prepare("SELECT customer_id FROM customer_profile_latest WHERE number_of_orders >= $1 AND country = $2")
        .await
        .unwrap();
    assert_eq!(statement.params().iter().map(|of| of.name()).collect::<Vec<_>>(), ["int8", "text"]);
    let found = client.query(&statement, &[&1_i64, &"DK"]).await.unwrap();
    assert_eq!(found.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), ["a"]);

    // COPY as text, CSV and in binary.
    let copied = async |sql: &str| {
        let chunks: Vec<bytes::Bytes> = client.copy_out(sql).await.unwrap().try_collect().await.unwrap();
        chunks.concat()
    };
    let query = "SELECT customer_id, amount_spent, city, tags FROM customer_profile_latest WHERE customer_id IN ('a', 'c') ORDER BY 1";
    let text = String::from_utf8(copied(&format!("COPY ({query}) TO STDOUT")).await).unwrap();
    assert_eq!(text, "a\t350.00\tAarhus\t{vip,news}\nc\t0.00\tOdense\t{news}\n");
    let csv = String::from_utf8(copied(&format!("COPY ({query}) TO STDOUT (FORMAT csv, HEADER)")).await).unwrap();
    assert_eq!(csv, "customer_id,amount_spent,city,tags\na,350.00,Aarhus,\"{vip,news}\"\nc,0.00,Odense,{news}\n");
    let binary = copied(
        "COPY (SELECT customer_id FROM customer_profile_latest WHERE customer_id = 'a') TO STDOUT (FORMAT binary)",
    )
    .await;
    assert_eq!(binary, b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x01a\xff\xff");

    // Cursors of SQL.
    client
        .batch_execute("BEGIN; DECLARE c CURSOR FOR SELECT value FROM generate_series(1, 10) ORDER BY 1")
        .await
        .unwrap();
    assert_eq!(rows(&client, "FETCH 3 FROM c").await, ["1", "2", "3"]);
    assert_eq!(rows(&client, "FETCH FORWARD 2 FROM c").await, ["4", "5"]);
    assert_eq!(rows(&client, "FETCH ALL FROM c").await.len(), 5);
    client.batch_execute("CLOSE c; COMMIT").await.unwrap();
    assert_eq!(state(&client, "FETCH 1 FROM c").await, "34000");
    // They go forward, and back to their beginning.
    client
        .batch_execute("BEGIN; DECLARE d CURSOR FOR SELECT value FROM generate_series(1, 10) ORDER BY 1")
        .await
        .unwrap();
    client.batch_execute("MOVE FORWARD 3 IN d").await.unwrap();
    assert_eq!(rows(&client, "FETCH 1 FROM d").await, ["4"]);
    client.batch_execute("MOVE BACKWARD ALL IN d").await.unwrap();
    assert_eq!(rows(&client, "FETCH 2 FROM d").await, ["1", "2"]);
    client.batch_execute("MOVE ALL IN d").await.unwrap();
    assert!(rows(&client, "FETCH 1 FROM d").await.is_empty());
    assert_eq!(state(&client, "MOVE BACKWARD 1 IN d").await, "55000");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(state(&client, "MOVE 1 IN d").await, "34000");

    // What is prepared by SQL.
    rows(&client, "PREPARE of_segment (text) AS SELECT members FROM segment_sizes_latest WHERE segment = $1").await;
    assert_eq!(rows(&client, "EXECUTE of_segment('danes')").await, ["2"]);
    assert_eq!(client.query("EXECUTE of_segment('buyers')", &[]).await.unwrap()[0].get::<_, i64>(0), 3);
    assert_eq!(state(&client, "EXECUTE of_segment('danes', 1)").await, "42601");
    assert_eq!(state(&client, "PREPARE of_segment AS SELECT 1").await, "42P05");
    assert_eq!(state(&client, "PREPARE gone AS DELETE FROM orders").await, "25006");
    rows(&client, "DEALLOCATE of_segment").await;
    assert_eq!(state(&client, "EXECUTE of_segment('danes')").await, "26000");
    let listed = vec!["danes", "x"];
    let of_list = "SELECT segment FROM segment_sizes_latest WHERE segment = ANY($1)";
    assert_eq!(client.query(of_list, &[&listed]).await.unwrap().len(), 1, "a list as a parameter");
    let write = client.query("DELETE FROM orders WHERE order_id = $1", &[&"x"]).await.err().unwrap();
    assert_eq!(state_of(&write), "25006");

    // What a transaction sets for itself ends with it; what is rolled back never was.
    let timeout = async || rows(&client, "SHOW statement_timeout").await.remove(0);
    let before = timeout().await;
    rows(&client, "BEGIN; SET LOCAL statement_timeout = '30s'").await;
    assert_eq!(timeout().await, "30s");
    rows(&client, "COMMIT").await;
    assert_eq!(timeout().await, before);
    rows(&client, "BEGIN; SET statement_timeout = '90s'; SET LOCAL TIME ZONE 'Europe/Copenhagen'; ROLLBACK").await;
    assert_eq!((timeout().await, rows(&client, "SHOW timezone").await.remove(0)), (before.clone(), "UTC".to_owned()));
    rows(&client, "BEGIN; SET statement_timeout = '90s'; COMMIT").await;
    assert_eq!(timeout().await, "90s");
    rows(&client, "SET LOCAL statement_timeout = '1s'").await;
    assert_eq!(timeout().await, "90s", "without a transaction it is over at once");
    rows(&client, "RESET statement_timeout").await;

    // A failed transaction answers nothing until it ends.
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(state(&client, "SELECT nothing").await, "42703");
    assert_eq!(state(&client, "SELECT 1").await, "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_too_long_or_gives_too_much_is_stopped() {
    let shop = TinyShop::after_a_night();
    shop.settings("[serve]\nmax_rows = 1000\nstop_within = \"20s\"\n[engine]\nmemory_limit = \"256MB\"\nthreads = 2");
    let secret = user(&shop, "bi", &[]);
    let mut server = Serving::start(&shop);
    let client = server.connect("bi", &secret).await;
    let endless = "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";

    // A time-out counts until the last row, and not the planning alone.
    rows(&client, "SET statement_timeout = '300ms'").await;
    let begun = Instant::now();
    assert_eq!(state(&client, endless).await, "57014");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    rows(&client, "RESET statement_timeout").await;

    let cancel = client.cancel_token();
    let begun = Instant::now();
    let (ended, ()) = tokio::join!(client.simple_query(endless), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
    });
    assert_eq!(state_of(&ended.err().unwrap()), "57014");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);

    assert_eq!(state(&client, "SELECT value FROM generate_series(1, 1001)").await, "54000");
    assert_eq!(rows(&client, "SELECT value FROM generate_series(1, 1000)").await.len(), 1000);

    // A join of everything with everything runs out of memory, not out of server.
    let greedy = "SELECT a.value, b.value, c.value FROM generate_series(1, 100000) a, generate_series(1, 100000) b, \
                  generate_series(1, 1000) c ORDER BY b.value % 7, a.value % 3, c.value DESC LIMIT 100000000";
    rows(&client, "SET statement_timeout = '20s'").await;
    let found = state(&client, greedy).await;
    assert!(["53200", "57014"].contains(&found.as_str()), "{found}");
    assert!(server.runs());

    // The server tells how it is, and stops when told: what runs finishes, nothing new is taken.
    let (code, body) = server.page("/healthz");
    assert_eq!((code, body.as_str()), (200, "{\"last_published_day\":\"2026-03-01\",\"status\":\"ok\"}\n"));
    let (code, metrics) = server.page("/metrics");
    assert_eq!(code, 200);
    for line in [
        "alluvial_connections{door=\"postgres\"} 1",
        "alluvial_query_errors_total{door=\"postgres\",sqlstate=\"54000\"} 1",
        "alluvial_queries_running{door=\"postgres\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    assert!(metrics.contains("alluvial_last_published_day_seconds 1772323200"), "{metrics}");
    rows(&client, "RESET statement_timeout").await;
    let slow = client.simple_query("SELECT count(*) FROM generate_series(1, 30000000) a WHERE sqrt(a.value) > 3");
    let (finished, ()) = tokio::join!(slow, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.terminate();
    });
    assert!(finished.is_ok(), "{}", shown(&finished.err().unwrap()));
    assert_eq!(server.end(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_find_the_tables_and_what_they_mean() {
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let server = Serving::start(&shop);
    let client = server.connect("bi", &secret).await;
    for sql in [
        "SELECT version()",
        "SELECT current_database(), current_schema(), current_user",
        "SHOW server_version",
        "SHOW transaction isolation level",
        "SET extra_float_digits = 3",
        "SET application_name = 'x'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "BEGIN READ ONLY; COMMIT",
        "SELECT oid, typname FROM pg_catalog.pg_type WHERE typname = 'int8'",
        "SELECT n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'v') AND n.nspname <> 'pg_catalog' ORDER BY 1, 2",
        "SELECT table_schema, table_name, column_name, data_type, ordinal_position FROM information_schema.columns WHERE table_name = 'orders'",
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid WHERE c.relname = 'segment_sizes' AND a.attnum > 0 ORDER BY a.attnum",
    ] {
        assert_eq!(state(&client, sql).await, "00000", "{sql}");
    }
    let told = "SELECT d.description FROM pg_catalog.pg_description d JOIN pg_catalog.pg_class c ON c.oid = d.objoid \
                WHERE c.relname = 'segment_sizes' AND d.objsubid = 0";
    assert_eq!(rows(&client, told).await, ["how many members each segment has, and what they are worth, by day"]);
    let told = "SELECT col_description(c.oid, a.attnum) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
                WHERE c.relname = 'danes' AND a.attname = 'number_of_orders'";
    let told = rows(&client, told).await;
    assert!(told.len() == 1 && told[0].contains("orders"), "{told:?}");
    // The numbers of tables stay the same when a day is published.
    let oid = "SELECT oid FROM pg_catalog.pg_class WHERE relname = 'customer_profile'";
    let before = rows(&client, oid).await;
    shop.segment("abroad", "number_of_orders >= 1 AND number_of_orders < 9");
    shop.night(D2);
    assert_eq!(rows(&client, "SELECT count(*) FROM segment.abroad").await, ["4"]);
    assert_eq!(rows(&client, oid).await, before);
    // A stream that nobody reads to its end is no trouble.
    let stream = client.query_raw("SELECT value FROM generate_series(1, 10000000)", [] as [&str; 0]).await.unwrap();
    let mut stream = std::pin::pin!(stream);
    assert!(stream.next().await.unwrap().is_ok());
    drop(client);
    let client = server.connect("bi", &secret).await;
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_follows_what_upkeep_drops() {
    let shop = TinyShop::new();
    shop.settings("[retention]\ncustomer_profile = 5");
    for day in ["2026-02-27", "2026-03-01", "2026-03-30"] {
        shop.night(day);
    }
    let secret = user(&shop, "bi", &[]);
    let server = Serving::start(&shop);
    let client = server.connect("bi", &secret).await;
    let days = "SELECT DISTINCT as_of FROM customer_profile ORDER BY 1";
    assert_eq!(rows(&client, days).await, ["2026-02-27", "2026-03-01", "2026-03-30"]);
    // What is dropped is swept a day later; the server has read these days' manifests before.
    for now in ["2036-04-01T00:00:00Z", "2036-04-02T01:00:00Z"] {
        let ran = shop.folder.run_with(&["vacuum"], &[("ALLUVIAL_NOW", now)]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    shop.night("2026-03-31");
    assert_eq!(rows(&client, days).await, ["2026-03-30", "2026-03-31"]);
    assert_eq!(rows(&client, "SELECT count(DISTINCT as_of) FROM segment_members").await, ["4"]);
}
