use std::path::PathBuf;
use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use chrono::{DateTime, Utc};
use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::local::LocalFileSystem;

use super::{KeptRows, Options, build, guest_id_function};
use crate::calendar::{Zone, parse_date};
use crate::engine::{Engine, Limits};
use crate::land::{self, Source};
use crate::schema::landed::Table;

fn shared(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    path.exists().then_some(path)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_shop_on_a_reference_day() {
    let Some(folder) = shared("online-retail") else {
        eprintln!("skipped: the shared folder with online-retail is absent");
        return;
    };
    let zone = Zone::parse("Europe/London").unwrap();
    let as_of = parse_date("2011-06-30").unwrap();
    let mut functions = land::read::functions();
    functions.push(guest_id_function(b"key"));
    let limits = Limits { memory: 1 << 30, threads: 2, spill: None };
    let engine = Engine::new(limits, functions, None).unwrap().with_aggregate(crate::profile::favorite_function());
    let session = engine.session();
    let sources: Vec<Source> = Table::ALL
        .into_iter()
        .map(|table| Source {
            table,
            address: ObjectStoreUrl::local_filesystem(),
            store: Arc::new(LocalFileSystem::new()),
            prefix: object_store::path::Path::from_absolute_path(folder.canonicalize().unwrap())
                .unwrap()
                .join(table.name()),
            pattern: None,
        })
        .collect();
    let options = land::Options {
        zone,
        currency: "GBP".into(),
        as_of,
        horizon: "2026-11-21T00:00:00Z".parse::<DateTime<Utc>>().unwrap(),
        max_reject_ratio: 0.01,
        lookback_days: 3,
        tables: Default::default(),
        statuses: land::statuses(&Default::default()),
        fields: Default::default(),
        without_forgotten: false,
    };
    let landed = land::land(&engine, &session, &sources, &options).await.unwrap();
    let profiled = build(
        &engine,
        &session,
        &landed,
        &Options {
            zone,
            as_of,
            currency: "GBP".into(),
            counted: vec!["paid".into(), "refunded".into(), "partially_refunded".into()],
            exclude: None,
            ignore_renewals: false,
            contact_fields: Default::default(),
            kept: KeptRows::default(),
        },
    )
    .await
    .unwrap();
    println!("{profiled:?}");
    let shown = |sql: &'static str| {
        let session = session.clone();
        async move { pretty_format_batches(&session.sql(sql).await.unwrap().collect().await.unwrap()).unwrap().to_string() }
    };
    println!("{}", shown("select * from profile order by amount_spent desc limit 2").await);
    let sums = shown(
        "select count(*), sum(number_of_orders), sum(amount_spent), max(amount_spent), sum(items_returned), \
         count(*) filter (where number_of_orders = 1), min(number_of_orders), avg(average_order_amount) from profile",
    )
    .await;
    println!("{sums}");
    assert!(sums.contains("| 2960     | 8802"), "{sums}");
    assert!(
        sums.contains("3814244.67") && sums.contains("135957.11") && sums.contains("113970") && sums.contains("1357")
    );
}
