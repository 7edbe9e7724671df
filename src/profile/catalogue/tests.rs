use super::*;
use crate::schema::landed::{CONTACT_COLUMNS, Table, instant_type, list_type};

fn property(name: &str, data_type: DataType) -> Property {
    Property { name: name.to_owned(), data_type }
}

#[test]
fn custom_properties_have_four_spellings_and_take_the_landed_type() {
    let properties = [
        property("vip", DataType::Boolean),
        property("points", DataType::Decimal128(12, 3)),
        property("seen", instant_type()),
        property("popup_tags", list_type()),
        property("address_parts", DataType::Struct(Vec::<arrow::datatypes::Field>::new().into())),
    ];
    let catalogue = Catalogue::new(&properties, &BTreeMap::new(), None);
    for name in ["vip", "properties.vip", "metafields.custom.vip", "customer.metafields.custom.vip"] {
        assert!(matches!(catalogue.resolve(name), Named::Attribute(found) if found.kind == Type::Boolean), "{name}");
    }
    let kind = |name| match catalogue.resolve(name) {
        Named::Attribute(found) => found.kind.clone(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(kind("points"), Type::Decimal { precision: 12, scale: 3 });
    assert_eq!(kind("seen"), Type::Day);
    assert_eq!(kind("popup_tags"), Type::List(Vec::new()));
    assert!(matches!(catalogue.resolve("address_parts"), Named::Unusable(_)));
    assert_eq!(catalogue.resolve("properties.vipp"), Named::Unknown(Some("properties.vip".to_owned())));
    assert_eq!(catalogue.resolve("properties.number_of_orders"), Named::Unknown(None));
}

#[test]
fn fields_give_types_options_labels_and_privacy() {
    let fields = BTreeMap::from([
        (
            "tier".to_owned(),
            Field {
                label: Some("Tier".into()),
                kind: Some(FieldKind::Choice),
                options: vec!["Gold".into(), "Silver".into()],
                column: Some("loyalty tier".into()),
                ..Field::default()
            },
        ),
        ("membership".to_owned(), Field { contact: true, ..Field::default() }),
        ("score".to_owned(), Field { kind: Some(FieldKind::Number), ..Field::default() }),
    ]);
    let properties = [property("tier", DataType::Utf8View), property("score", DataType::Int64)];
    let catalogue = Catalogue::new(&properties, &fields, None);
    let Named::Attribute(tier) = catalogue.resolve("tier") else { panic!() };
    assert_eq!(tier.kind, Type::Choice(vec!["Gold".into(), "Silver".into()]));
    assert_eq!(
        (tier.label.as_deref(), tier.landed.as_slice()),
        (Some("Tier"), &["customers.loyalty tier".to_owned()][..])
    );
    let Named::Attribute(membership) = catalogue.resolve("membership") else { panic!() };
    assert!(membership.contact && membership.sensitive);
    let Named::Attribute(score) = catalogue.resolve("score") else { panic!() };
    assert_eq!(score.kind, Type::Integer);
}

#[test]
fn attributes_that_only_some_shops_land_name_the_column_that_would_supply_them() {
    let bare = Catalogue::new(&[], &BTreeMap::new(), None);
    assert_eq!(bare.resolve("customer_account_status"), Named::NotLanded("customers.customer_account_status"));
    let landed = Catalogue::new(&[property("customer_account_status", DataType::Utf8View)], &BTreeMap::new(), None);
    assert!(matches!(
        landed.resolve("customer_account_status"),
        Named::Attribute(found) if matches!(found.kind, Type::Enum(_))
    ));
}

#[test]
fn names_and_spellings_are_unique_and_every_landed_source_exists() {
    let catalogue = Catalogue::new(&[], &BTreeMap::new(), None);
    let mut names = BTreeSet::new();
    for attribute in catalogue.attributes() {
        for name in std::iter::once(&attribute.name).chain(&attribute.aliases) {
            assert!(names.insert(name.clone()), "{name} twice");
        }
        for source in &attribute.landed {
            let (table, column) = source.split_once('.').expect("table.column");
            let table = Table::named(table).expect(source);
            assert!(table.column(column).is_some(), "{}: {source}", attribute.name);
        }
        assert_eq!(attribute.contact, CONTACT_COLUMNS.contains(&attribute.name.as_str()), "{}", attribute.name);
    }
    for function in catalogue.functions() {
        for name in std::iter::once(&function.name).chain(function.spellings) {
            assert!(names.insert((*name).to_owned()), "{name} twice");
            assert!(matches!(catalogue.resolve(name), Named::Function(found) if found.name == function.name));
        }
    }
}

#[test]
fn missing_columns_are_told_only_where_the_landed_columns_are_known() {
    let landed = Landed::from([("customers".to_owned(), BTreeSet::from(["customer_id".to_owned()]))]);
    let known = Catalogue::new(&[], &BTreeMap::new(), Some(landed));
    let Named::Attribute(birthday) = known.resolve("birthday") else { panic!() };
    assert_eq!(known.missing_columns(birthday), ["customers.birthday"]);
    let Named::Attribute(id) = known.resolve("customer_id") else { panic!() };
    assert!(known.missing_columns(id).is_empty());
    assert!(Catalogue::new(&[], &BTreeMap::new(), None).missing_columns(birthday).is_empty());
}

#[test]
fn a_misspelt_name_suggests_the_nearest() {
    let catalogue = Catalogue::new(&[], &BTreeMap::new(), None);
    assert_eq!(catalogue.resolve("amuont_spent"), Named::Unknown(Some("amount_spent".to_owned())));
    assert_eq!(catalogue.resolve("products_purchsed"), Named::Unknown(Some("products_purchased".to_owned())));
    assert_eq!(catalogue.resolve("zebra"), Named::Unknown(None));
}
