//! A real shop: UCI Online Retail, whose numbers on one day are known. Its data is not part of this repository.

use std::path::Path;

use crate::harness::Folder;
use crate::landing_files::NIGHTLY;

#[test]
fn the_reference_day_of_a_real_shop() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/online-retail");
    let Ok(data) = data.canonicalize() else {
        println!("skipped: {} is not here", data.display());
        return;
    };
    let folder = Folder::empty();
    let mut settings =
        "[project]\nname = \"online-retail\"\ntimezone = \"Europe/London\"\ncurrency = \"GBP\"\n".to_owned();
    for table in ["customers", "orders", "order_items", "products"] {
        settings.push_str(&format!("[tables.{table}]\nurl = \"{}/{table}/*.parquet\"\n", data.display()));
    }
    folder.write("alluvial.toml", &settings);
    folder.write("jobs/nightly.toml", NIGHTLY);
    folder.write(
        "sql/segments/biggest.toml",
        "name = \"The biggest\"\ndescription = \"One wholesaler\"\nquery = \"amount_spent > 120000\"\n",
    );
    let ran = folder.run(&["run", "nightly", "--as-of", "2011-06-30", "--format", "json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["customers"], 2960);
    assert_eq!(report["rejects"], serde_json::json!([]));

    let answer = |sql: &str| {
        let ran = folder.run(&["query", sql, "--format", "csv"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{sql}");
        ran.stdout.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        answer(
            "SELECT count(*), count(*) FILTER (WHERE number_of_orders > 0), sum(number_of_orders), sum(amount_spent), \
             max(amount_spent), sum(items_returned), count(*) FILTER (WHERE number_of_orders = 1), \
             CAST(median(amount_spent) AS DECIMAL(18, 2)), round(avg(CAST(average_order_amount AS DOUBLE)), 4) \
             FROM customer_profile_latest"
        ),
        ["2960,2960,8802,3814244.67,135957.11,113970,1357,487.97,368.2794"]
    );
    assert_eq!(
        answer(
            "SELECT customer_id, number_of_orders, amount_spent, last_order_date, days_since_last_order \
             FROM segment.biggest"
        ),
        ["14646,32,135957.11,2011-06-28T11:22:00Z,2"]
    );
    assert_eq!(
        answer("SELECT count(*), sum(net_amount), count(DISTINCT customer_id) FROM orders WHERE is_counted"),
        ["8802,3814244.67,2960"]
    );
    assert_eq!(answer("SELECT sum(returned_quantity) FROM order_items WHERE is_counted"), ["113970"]);
}
