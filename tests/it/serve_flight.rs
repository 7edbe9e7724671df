//! The Flight SQL door, through Arrow's own client.

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow_flight::FlightInfo;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTables, SqlInfo};
use futures::TryStreamExt;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Channel;

use crate::landing_files::TinyShop;
use crate::serving::{Serving, user};

type Client = FlightSqlServiceClient<Channel>;

async fn client(server: &Serving) -> Client {
    let address = format!("http://{}", server.flight);
    FlightSqlServiceClient::new(Channel::from_shared(address).unwrap().connect().await.unwrap())
}

async fn connected(server: &Serving, name: &str, secret: &str) -> Client {
    let mut client = client(server).await;
    client.handshake(name, secret).await.unwrap();
    client
}

async fn fetched(client: &mut Client, info: FlightInfo) -> Vec<RecordBatch> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    client.do_get(ticket).await.unwrap().try_collect().await.unwrap()
}

async fn asked(client: &mut Client, sql: &str) -> Vec<RecordBatch> {
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    fetched(client, info).await
}

fn texts(batches: &[RecordBatch], column: &str) -> Vec<String> {
    let column = |batch: &RecordBatch| {
        let column = batch.column_by_name(column).unwrap();
        let text = arrow::compute::cast(column, &DataType::Utf8).unwrap();
        text.as_string::<i32>().iter().map(|text| text.unwrap_or("-").to_owned()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(column).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flight_reads_what_postgres_reads_of_the_state_that_was_planned() {
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let server = Serving::start(&shop);
    let mut client = connected(&server, "bi", &secret).await;

    let newest = "SELECT DISTINCT as_of FROM segment_sizes_latest";
    let sizes = "SELECT segment, members FROM segment_sizes_latest ORDER BY segment";
    let batches = asked(&mut client, sizes).await;
    assert_eq!(texts(&batches, "segment"), ["buyers", "danes", "prospects", "repeat"]);
    assert_eq!(batches[0].schema().field(0).data_type(), &DataType::Utf8);
    assert_eq!(batches[0].column(1).as_primitive::<Int64Type>().value(1), 2);

    // A ticket reads the state that it was planned over, and the next plan the new day.
    let planned = client.execute(newest.to_owned(), None).await.unwrap();
    shop.night("2026-03-02");
    assert_eq!(texts(&asked(&mut client, newest).await, "as_of"), ["2026-03-02"]);
    assert_eq!(texts(&fetched(&mut client, planned).await, "as_of"), ["2026-03-01"]);

    // The order, names and structures are the statement's, whatever becomes of its texts.
    let last = "SELECT a.segment, b.segment FROM segment_sizes_latest a JOIN segment_sizes_latest b \
                ON a.segment = b.segment ORDER BY a.segment DESC LIMIT 3";
    let batches = asked(&mut client, last).await;
    let columns: Vec<Vec<String>> = (0..2)
        .map(|column| {
            batches
                .iter()
                .flat_map(|batch| batch.column(column).as_string::<i32>())
                .flatten()
                .map(str::to_owned)
                .collect()
        })
        .collect();
    assert_eq!(columns[0], ["repeat", "prospects", "danes"]);
    assert_eq!(columns[0], columns[1]);
    let two =
        "SELECT named_struct('a', segment, 'a', 'other') AS both FROM segment_sizes_latest WHERE segment = 'danes'";
    let batches = asked(&mut client, two).await;
    let both = batches[0].column(0).as_struct();
    assert_eq!(
        (both.column(0).as_string::<i32>().value(0), both.column(1).as_string::<i32>().value(0)),
        ("danes", "other")
    );
    let explained = asked(&mut client, &format!("EXPLAIN {sizes}")).await;
    assert_eq!(texts(&explained, "plan_type")[0], "logical_plan");
    assert_eq!(texts(&asked(&mut client, "VALUES ('one'), ('two')").await, "column1"), ["one", "two"]);

    // Prepared statements, with parameters and without.
    let mut prepared = client
        .prepare("SELECT segment FROM segment_sizes_latest WHERE members >= $1 ORDER BY 1".to_owned(), None)
        .await
        .unwrap();
    assert_eq!(prepared.parameter_schema().unwrap().field(0).data_type(), &DataType::Int64);
    for (least, wanted) in [(3, vec!["buyers", "danes"]), (100, vec![])] {
        let schema = Arc::new(Schema::new(vec![Field::new("$1", DataType::Int64, true)]));
        let values = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![least]))]).unwrap();
        prepared.set_parameters(values).unwrap();
        let info = prepared.execute().await.unwrap();
        assert_eq!(texts(&fetched(&mut client, info).await, "segment"), wanted, "{least}");
    }
    prepared.close().await.unwrap();

    // Lists.
    let schemas =
        client.get_db_schemas(CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None }).await.unwrap();
    assert_eq!(texts(&fetched(&mut client, schemas).await, "db_schema_name"), ["public", "segment"]);
    let tables = CommandGetTables {
        catalog: None,
        db_schema_filter_pattern: Some("segment".to_owned()),
        table_name_filter_pattern: None,
        table_types: Vec::new(),
        include_schema: true,
    };
    let tables = client.get_tables(tables).await.unwrap();
    assert_eq!(texts(&fetched(&mut client, tables).await, "table_name"), ["buyers", "danes", "prospects", "repeat"]);
    let keys = CommandGetPrimaryKeys { catalog: None, db_schema: None, table: "segment_members".to_owned() };
    let keys = client.get_primary_keys(keys).await.unwrap();
    assert_eq!(texts(&fetched(&mut client, keys).await, "column_name"), ["as_of", "segment", "customer_id"]);
    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly]).await.unwrap();
    assert_eq!(fetched(&mut client, info).await.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    let _asked = CommandGetSqlInfo::default();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flight_lets_in_only_users_and_stops_what_it_is_told_to_stop() {
    let shop = TinyShop::after_a_night();
    shop.settings("[serve]\nmax_rows = 1000");
    let secret = user(&shop, "bi", &[]);
    let server = Serving::start(&shop);

    let mut stranger = client(&server).await;
    let refused = stranger.execute("SELECT 1".to_owned(), None).await.err().unwrap().to_string();
    assert!(refused.contains("28000"), "{refused}");
    let refused = stranger.handshake("bi", "wrong").await.err().unwrap().to_string();
    assert!(refused.contains("28P01"), "{refused}");
    stranger.set_token("0123".to_owned());
    let refused = stranger.execute("SELECT 1".to_owned(), None).await.err().unwrap().to_string();
    assert!(refused.contains("28000"), "{refused}");

    let mut client = connected(&server, "bi", &secret).await;
    for (sql, wanted) in [
        ("SELECT * FROM customer_contacts", "42501"),
        ("INSERT INTO orders SELECT * FROM orders", "25006"),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", "42601"),
        ("COPY orders TO '/tmp/x'", "25006"),
        ("SELECT 1; SELECT 2", "42601"),
        ("SELECT missing FROM orders", "42703"),
    ] {
        let refused = client.execute(sql.to_owned(), None).await.err().unwrap().to_string();
        assert!(refused.contains(wanted), "{sql}: {refused}");
    }
    let refused = client.execute_update("DELETE FROM orders".to_owned(), None).await.err().unwrap().to_string();
    assert!(refused.contains("25006"), "{refused}");

    let info = client.execute("SELECT value FROM generate_series(1, 1001)".to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let stream = client.do_get(ticket).await.unwrap();
    let refused = stream.try_collect::<Vec<_>>().await.err().unwrap().to_string();
    assert!(refused.contains("54000"), "{refused}");

    // Revoked, a token serves no more and what runs under it ends.
    let endless = "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    let info = client.execute(endless.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut second = client.clone();
    let running = tokio::spawn(async move {
        match second.do_get(ticket).await {
            Ok(stream) => stream.try_collect::<Vec<_>>().await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(shop.run(&["user", "revoke", "bi"]).code, 0);
    let ended = tokio::time::timeout(Duration::from_secs(20), running).await.unwrap().unwrap().err().unwrap();
    assert!(ended.contains("57P01"), "{ended}");
    let refused = client.execute("SELECT 1".to_owned(), None).await.err().unwrap().to_string();
    assert!(refused.contains("28000"), "{refused}");
}
