use super::*;
use crate::engine::Limits;

async fn checked(files: &[(&str, &str)]) -> (Computed, Vec<Error>) {
    let engine = Engine::new(Limits { memory: 1 << 30, threads: 1, spill: None }, Vec::new(), None).unwrap();
    let catalogue = Catalogue::new(&[], &BTreeMap::new(), None);
    let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
    let files = files.iter().map(file).collect();
    check(&engine, files, &Landed::default(), &BTreeSet::new(), &catalogue).await.unwrap()
}

#[tokio::test]
async fn columns_become_attributes_described_by_the_head_comment() {
    let text = "-- What was bought on weekends.\n-- last_weekend: the day of the latest such order\n\n\
                SELECT customer_id, count(*) AS weekend_orders, max(ordered_on) AS last_weekend, \
                CAST(sum(total) AS DOUBLE) / count(*) AS weekend_mean \
                FROM orders WHERE date_part('dow', ordered_on) IN (0, 6) GROUP BY customer_id;";
    let (computed, faults) = checked(&[("sql/attributes/weekend.sql", text)]).await;
    assert!(faults.is_empty(), "{faults:?}");
    let told: Vec<String> =
        computed.attributes.iter().map(|one| format!("{} {}: {}", one.name, one.kind.name(), one.meaning)).collect();
    assert_eq!(
        told,
        [
            "weekend_orders whole number: What was bought on weekends.",
            "last_weekend date: the day of the latest such order",
            "weekend_mean number: What was bought on weekends.",
        ]
    );
}

#[tokio::test]
async fn every_table_and_column_can_be_read() {
    let joined = "SELECT p.customer_id, max(p.as_of) AS a, max(o.net_amount) AS b, max(i.unit_price) AS c, \
                  max(e.occurred_at) AS d, max(g.price) AS e2, max(l.amount_spent) AS f FROM customer_profile p \
                  JOIN orders o ON o.customer_id = p.customer_id JOIN order_items i ON i.order_id = o.order_id \
                  JOIN events e ON e.customer_id = p.customer_id JOIN products g ON g.product_id = i.product_id \
                  JOIN customer_profile_latest l ON l.customer_id = p.customer_id GROUP BY p.customer_id";
    let (computed, faults) = checked(&[("sql/attributes/all.sql", joined)]).await;
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(computed.attributes.len(), 6);
}

#[tokio::test]
async fn every_fault_names_its_file_and_what_to_write() {
    let cases = [
        ("SELECT count(*) AS n FROM orders", "attribute.no_customer"),
        ("SELECT customer_id FROM orders GROUP BY 1", "attribute.no_column"),
        ("SELECT customer_id, 1 AS number_of_orders FROM orders", "attribute.taken"),
        ("SELECT customer_id, 1 AS customer_tags FROM orders", "attribute.taken"),
        ("SELECT customer_id, 1 AS as_of FROM orders", "attribute.taken"),
        ("SELECT customer_id, count(*) FROM orders GROUP BY customer_id", "attribute.bad_name"),
        ("SELECT customer_id, 1 AS \"Big\" FROM orders", "attribute.bad_name"),
        ("SELECT customer_id, 1 AS matches FROM orders", "attribute.bad_name"),
        ("SELECT customer_id, NULL AS nothing FROM orders", "attribute.bad_type"),
        ("SELECT customer_id, struct(1, 2) AS pair FROM orders", "attribute.bad_type"),
        ("SELECT customer_id, now() AS at FROM orders", "attribute.not_repeatable"),
        ("SELECT customer_id, 1 AS a FROM orders WHERE random() < (SELECT random())", "attribute.not_repeatable"),
        ("SELECT customer_id, email AS mail FROM customer_contacts", "attribute.sql"),
        ("SELECT customer_id, nothing AS a FROM orders", "attribute.sql"),
        ("SELECT customer_id, FROM WHERE", "attribute.sql"),
        ("CREATE TABLE x AS SELECT 1", "attribute.sql"),
    ];
    for (text, code) in cases {
        let (computed, faults) = checked(&[("sql/attributes/a.sql", text)]).await;
        assert_eq!(faults.first().map(Error::code), Some(code), "{text}: {faults:?}");
        assert!(computed.is_empty() && computed.attributes.is_empty(), "{text}");
        for fault in &faults {
            assert_eq!(fault.place().file.as_deref(), Some("sql/attributes/a.sql"), "{text}");
            assert!(fault.hint().is_some(), "{text}");
        }
    }
    let one = "SELECT customer_id, 1 AS one FROM orders";
    let (computed, faults) = checked(&[("a.sql", one), ("b.sql", one)]).await;
    assert_eq!(faults.iter().map(Error::code).collect::<Vec<_>>(), ["attribute.taken"]);
    assert_eq!(computed.files().collect::<Vec<_>>(), ["a.sql"]);
}
