use super::*;
use crate::calendar::parse_date;
use crate::profile::catalogue::{Landed, Property};
use crate::segments::shop;
use crate::segments::syntax::parse;

fn codes(query: &str, catalogue: &Catalogue) -> Vec<&'static str> {
    let parsed = parse(query);
    assert!(!parsed.has_errors(), "{query}: {:?}", parsed.diagnostics);
    // The segments that the catalogue's examples name.
    let known = ["win-back", "loyal-customers"].map(|id| (id.to_owned(), true)).into();
    let checked = check(&parsed.expr, &Context { catalogue, segments: &known, as_of: shop::as_of() });
    checked.diagnostics.iter().map(|found| found.code).collect()
}

#[test]
fn every_example_of_the_catalogue_is_right() {
    let conditional = ["product_subscription_status", "companies", "created_by_app_id", "store_credit_accounts"];
    let properties =
        conditional.map(|name| Property { name: name.to_owned(), data_type: arrow::datatypes::DataType::Utf8View });
    let catalogue = Catalogue::new(&properties, &BTreeMap::new(), None);
    for attribute in catalogue.attributes() {
        assert!(codes(&attribute.example, &catalogue).is_empty(), "{}: {}", attribute.name, attribute.example);
    }
    for function in catalogue.functions() {
        assert!(codes(function.example, &catalogue).is_empty(), "{}", function.example);
    }
    for attribute in shop::catalogue().attributes() {
        assert!(codes(&attribute.example, &shop::catalogue()).is_empty(), "{}", attribute.example);
    }
}

#[test]
fn an_attribute_without_landed_data_is_a_warning() {
    let landed = Landed::from([("customers".to_owned(), ["customer_id".to_owned()].into())]);
    let catalogue = Catalogue::new(&[], &BTreeMap::new(), Some(landed));
    assert_eq!(codes("birthday IS NOT NULL", &catalogue), ["segment.not_landed"]);
    assert!(codes("customer_id = 'a'", &catalogue).is_empty());
}

#[test]
fn names_in_anniversaries_and_older_consents_resolve() {
    let bare = Catalogue::new(&[], &BTreeMap::new(), None);
    let named = |query: &str, catalogue: &Catalogue| {
        let known = BTreeMap::new();
        let parsed = parse(query);
        let rule = check(&parsed.expr, &Context { catalogue, segments: &known, as_of: shop::as_of() }).rule.unwrap();
        rule.tests()[0].attribute.name.clone()
    };
    let query = "anniversary('metafields.facts.birth_date') = +1d";
    assert_eq!(named(query, &bare), "birthday", "Shopify's standard metafield is the birthday");
    assert_eq!(named(query, &shop::catalogue()), "birth_date", "unless the shop landed a property of that key");
}

#[test]
fn dates_are_told_resolved_and_with_their_length() {
    let as_of = parse_date("2026-03-31").unwrap();
    let told = |query: &str| -> Vec<String> {
        shop::rule(query, &[])
            .dates(as_of)
            .iter()
            .map(|date| {
                let end = |day: Option<NaiveDate>| day.map_or("…".to_owned(), |day| day.to_string());
                let days = date.days.map_or("-".to_owned(), |days| days.to_string());
                format!("{} {}: {} to {} = {days}", date.attribute, date.written, end(date.from), end(date.to))
            })
            .collect()
    };
    assert_eq!(told("last_order_date >= -30d"), ["last_order_date >= -30d: 2026-03-01 to … = 31"]);
    assert_eq!(told("last_order_date > -30d"), ["last_order_date > -30d: 2026-03-02 to … = 30"]);
    assert_eq!(told("last_order_date < -1m"), ["last_order_date < -1m: … to 2026-02-27 = -"]);
    assert_eq!(
        told("birthday BETWEEN -1y AND today AND last_order_date IN (yesterday, 2026-01-01T10:00:00)"),
        [
            "birthday BETWEEN -1y AND today: 2025-03-31 to 2026-03-31 = 366",
            "last_order_date = yesterday: 2026-03-30 to 2026-03-30 = 1",
            "last_order_date = 2026-01-01T10:00:00: 2026-01-01 to 2026-01-01 = 1",
        ]
    );
}
