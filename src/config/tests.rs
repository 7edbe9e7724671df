//! What a project's file may say, and how it is refused.

use std::path::Path;

use super::*;
use crate::config::environment::Machine;
use crate::error::Result;
use crate::schema::landed::Table;

const LEAST: &str = "[project]\ntimezone = \"Europe/Copenhagen\"\ncurrency = \"DKK\"\n";

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Settings> {
    let environment = Environment::of("/shop", variables.iter().copied());
    Settings::parse("alluvial.toml", text, Path::new("/shop"), &environment, &Overrides::default())
}

/// `line:column code: message (hint)` of every fault, one a line.
fn faults(result: Result<Settings>) -> String {
    let error = result.unwrap_err();
    let line = |fault: &Fault| {
        let error = fault.to_error();
        let place = error.place().to_string().replace("alluvial.toml:", "");
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{place} {}: {}{hint}", error.code(), error.message())
    };
    faults_of(&error).unwrap().iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn defaults_are_the_contracts() {
    let settings = load(LEAST, &[]).unwrap();
    assert_eq!(settings.project.name, "shop");
    assert_eq!(settings.lake.url.as_str(), "file:///shop/lake/");
    assert_eq!(settings.engine, EngineSettings { memory_limit: 2_000_000_000, threads: 2 });
    assert_eq!(settings.landing, LandingSettings { max_reject_ratio: 0.01, lookback_days: 3 });
    assert_eq!(settings.lifecycle, LifecycleSettings::default());
    assert_eq!(settings.retention.customer_profile_days, Some(35));
    assert_eq!(settings.retention.segment_changes_days, None);
    let counted: Vec<&str> = settings.orders.counted.iter().map(String::as_str).collect();
    assert_eq!(counted, ["paid", "partially_refunded", "refunded"]);
    assert_eq!(settings.table(Table::Orders), TableSettings::default());
}

#[test]
fn everything_can_be_written() {
    let text = format!(
        "{LEAST}name = \"Sample\"\n{}",
        r#"
[lake]
url = "s3://bucket/shop"
[engine]
memory_limit = "3GB"
threads = 4
[tables.orders]
url = "data/orders/**/*.parquet"
id_prefix = "dk-"
money = "minor"
[tables.orders.columns]
order_id = "Id"
[tables.customers]
full_dump = true
[orders]
counted = ["pending"]
[orders.status_aliases]
"On-Hold" = "pending"
[customers]
exclude = "customer_tags CONTAINS 'staff'"
[landing]
max_reject_ratio = "2%"
lookback_days = 7
[lifecycle]
recurring = "ignore"
vitality = 0.4
vitality_band = { below = 0.1, above = 0 }
[serve]
[exports]
[retention]
rejects = 7
[fields.shoe_size]
label = "Shoe size"
type = "number"
column = "SHOE"
[fields.gender]
type = "choice"
options = ["female", "male"]
required = true
[fields.vat_number]
contact = true
"#
    );
    let settings = load(&text, &[]).unwrap();
    assert_eq!(settings.project.name, "Sample");
    assert_eq!(settings.engine, EngineSettings { memory_limit: 3_000_000_000, threads: 4 });
    let orders = settings.table(Table::Orders);
    assert_eq!(orders.url.as_deref(), Some("/shop/data/orders/**/*.parquet"));
    assert_eq!((orders.columns["order_id"].as_str(), orders.money_minor), ("Id", true));
    assert!(settings.table(Table::Customers).full_dump);
    assert!(settings.orders.counted.contains("pending") && settings.orders.counted.contains("paid"));
    assert_eq!(settings.orders.status_aliases["on_hold"], "pending");
    assert_eq!(settings.landing, LandingSettings { max_reject_ratio: 0.02, lookback_days: 7 });
    assert_eq!(settings.lifecycle.recurring, Recurring::Ignore);
    assert_eq!(settings.lifecycle.vitality_band, Band { below: 0.1, above: 0.0 });
    assert_eq!(settings.retention.rejects_days, Some(7));
    assert_eq!(settings.fields["shoe_size"].kind, Some(FieldType::Number));
    assert_eq!(settings.fields["gender"].options, ["female", "male"]);
    assert!(settings.fields["vat_number"].contact);
}

#[test]
fn all_faults_at_once_each_with_its_place() {
    let text = r#"[project]
nmae = "Sample"
timezone = "Europe/Kopenhagen"
currency = "kroner"

[engine]
memory_limit = "3"
threads = "four"

[tables.order]
url = "x"

[tables.rates]
money = "minor"
full_dump = true

[tables.orders.columns]
ordered = "date"

[orders]
counted = ["payed", 3]
[orders.status_aliases]
shipped = "fulfilled"

[landing]
max_reject_ratio = 2
lookback_days = -1

[serve]
port = 5432

[fields.Size]
type = "nubmer"
[fields.birthday]
type = "text"
[fields.city]
options = ["a"]
column = "town"

[laek]
"#;
    insta::assert_snapshot!(faults(load(text, &[])), @r#"
    2:1 config.unknown_key: unknown key `nmae` in `[project]` (did you mean `name`?)
    3:12 calendar.unknown_zone: the time zone `Europe/Kopenhagen` does not exist (did you mean `Europe/Copenhagen`?)
    4:12 config.bad_currency: `kroner` is not a currency (write its ISO 4217 code, such as `EUR` or `DKK`)
    7:16 config.bad_size: `3` is not a size (write a number and a unit: `3GB`, `512MB` or `1.5GiB`)
    8:11 config.wrong_type: `engine.threads` must be a whole number, not a text
    10:9 config.unknown_table: `order` is not a landed table (did you mean `orders`?)
    14:9 config.misplaced: `rates` has no column of money
    15:13 config.misplaced: `full_dump` is for `customers` only
    18:1 config.unknown_column: `orders` has no column `ordered` (did you mean `order_id`?)
    21:12 config.bad_status: `payed` is not an order status (known here: `paid`, `partially_refunded`, `pending`, `refunded`)
    21:21 config.wrong_type: `orders.counted` must be a text in quotes, not a number
    23:11 config.bad_status: `fulfilled` is not an order status (known here: `cancelled`, `paid`, `partially_refunded`, `pending`, `refunded`)
    26:20 config.out_of_range: `landing.max_reject_ratio` must be a number from 0 to 1
    27:17 config.out_of_range: `landing.lookback_days` must be a whole number from 0 to 366
    30:1 config.unknown_key: unknown key `port` in `[serve]` (known here: `flight`, `http`, `max_connections`, `max_rows`, `max_statement`, `postgres`, `public_url`, `statement_timeout`, `stop_within`, `tls_certificate`, `tls_key`)
    32:9 config.bad_name: `Size` cannot be a field's name (use lower-case letters, digits and `_`; the landed column's own name goes to `column`)
    33:8 config.unknown_choice: `nubmer` is not one that `fields.Size.type` knows (did you mean `number`?)
    35:8 config.wrong_field_type: the contract's own column `birthday` has another type (it can be `date`)
    37:11 config.misplaced: `fields.city` has options, but is no choice or list (write `type = "choice"`)
    38:10 config.misplaced: `city` is a column of the contract, and is mapped with its table (write it to `[tables.customers.columns]`: `city = …`)
    40:2 config.unknown_key: unknown key `laek` at the top level (did you mean `lake`?)
    "#);
}

#[test]
fn syntax_faults_have_their_place() {
    insta::assert_snapshot!(faults(load("[project\nname = \"a\"\nname = 'b'\n", &[])), @"1:9 config.syntax: unclosed table, expected `]`");
}

#[test]
fn a_key_written_twice_is_refused() {
    insta::assert_snapshot!(faults(load("[project]\nname = \"a\"\nname = 'b'\n", &[])), @"3:1 config.syntax: duplicate key");
}

#[test]
fn the_environment_goes_over_the_file_and_is_typed_by_its_target() {
    let variables = [
        ("ALLUVIAL_LAKE__URL", "gs://bucket/shop"),
        ("ALLUVIAL_ENGINE__THREADS", "8"),
        ("ALLUVIAL_ENGINE__MEMORY_LIMIT", "1GB"),
        ("ALLUVIAL_ORDERS__COUNTED", "pending, paid"),
        ("ALLUVIAL_ORDERS__STATUS_ALIASES__SHIPPED", "paid"),
        ("ALLUVIAL_TABLES__CUSTOMERS__FULL_DUMP", "true"),
        ("ALLUVIAL_TABLES__ORDERS__COLUMNS__TOTAL", "Total amount"),
        ("ALLUVIAL_LIFECYCLE__VITALITY", "0.4"),
        ("ALLUVIAL_LIFECYCLE__VITALITY_BAND__BELOW", "0"),
        ("ALLUVIAL_LANDING__MAX_REJECT_RATIO", "5%"),
        ("ALLUVIAL_FIELDS__TIER__OPTIONS", "[\"a, b\", \"c\"]"),
        ("ALLUVIAL_FIELDS__TIER__TYPE", "choice"),
    ];
    let settings = load(&format!("{LEAST}[lake]\nurl = \"lake\"\n[engine]\nthreads = 1\n"), &variables).unwrap();
    assert_eq!(settings.lake.url.as_str(), "gs://bucket/shop");
    assert_eq!(settings.engine, EngineSettings { memory_limit: 1_000_000_000, threads: 8 });
    assert!(settings.orders.counted.contains("pending"));
    assert_eq!(settings.orders.status_aliases["shipped"], "paid");
    assert!(settings.table(Table::Customers).full_dump);
    assert_eq!(settings.table(Table::Orders).columns["total"], "Total amount");
    assert_eq!((settings.lifecycle.vitality, settings.lifecycle.vitality_band.below), (0.4, 0.0));
    assert_eq!(settings.landing.max_reject_ratio, 0.05);
    assert_eq!(settings.fields["tier"].options, ["a, b", "c"]);
}

#[test]
fn faults_of_the_environment_name_the_variable() {
    let variables = [
        ("ALLUVIAL_ENGINE__THREADS", "many"),
        ("ALLUVIAL_ENGINE__THREDS", "2"),
        ("ALLUVIAL_LAKE__KEY", "canary"),
        ("ALLUVIAL_TABLES__ORDERS", "x"),
    ];
    let found = faults(load(LEAST, &variables));
    assert!(!found.contains("canary"));
    insta::assert_snapshot!(found, @r"
    variable ALLUVIAL_ENGINE__THREADS config.out_of_range: `engine.threads` must be a whole number from 1 to 1024
    variable ALLUVIAL_ENGINE__THREDS config.unknown_key: unknown key `threds` in `[engine]` (did you mean `threads`?)
    variable ALLUVIAL_LAKE__KEY config.unknown_key: unknown key `key` in `[lake]` (secrets have variables of their own: `ALLUVIAL_LAKE_KEY` for the lake's key, the clouds' usual ones for their credentials)
    variable ALLUVIAL_TABLES__ORDERS config.wrong_type: `tables.orders` must be a table of settings, not a text
    ");
}

#[test]
fn variables_that_set_nothing_are_warned_about() {
    let settings = load(LEAST, &[("ALLUVIAL_LAKE_URL", "x"), ("ALLUVIAL_PORT", "1"), ("ALLUVIAL_NOW", "")]).unwrap();
    insta::assert_snapshot!(settings.warnings.join("\n"), @r"
    `ALLUVIAL_LAKE_URL` sets nothing: two underscores go into a table, as in `ALLUVIAL_LAKE__URL`
    `ALLUVIAL_PORT` sets nothing
    ");
}

#[test]
fn secrets_do_not_belong_into_the_file() {
    let found = faults(load(&format!("{LEAST}[lake]\nlake_key = \"canary\"\nurl = \"s3://a:canary@b/c\"\n"), &[]));
    assert!(!found.contains("canary"));
    insta::assert_snapshot!(found, @r"
    5:1 config.secret_in_file: `lake_key` in `[lake]` looks like a secret, which no project file may hold (secrets have variables of their own: `ALLUVIAL_LAKE_KEY` for the lake's key, the clouds' usual ones for their credentials; change a secret that was committed)
    6:7 config.secret_in_url: a URL must not carry credentials or parameters (set the clouds' usual variables in the environment, and change a secret that was committed)
    ");
}

#[test]
fn the_fingerprint_holds_what_answers_depend_on_and_nothing_else() {
    let print = |more: &str| load(&format!("{LEAST}{more}"), &[]).unwrap().fingerprint();
    let plain = print("");
    for same in [
        "[lake]\nurl = \"elsewhere\"",
        "[engine]\nthreads = 7",
        "[retention]\nrejects = 1",
        "[tables.orders]\nurl = \"x\"",
    ] {
        assert!(!print(same).contains("elsewhere"));
        if !same.contains("tables") {
            assert_eq!(print(same), plain, "{same}");
        }
    }
    for other in [
        "[orders]\ncounted = [\"pending\"]",
        "[customers]\nexclude = \"number_of_orders = 0\"",
        "[lifecycle]\nloyal_orders = 4",
        "[fields.size]\ntype = \"number\"",
        "[tables.orders]\nmoney = \"minor\"",
    ] {
        assert_ne!(print(other), plain, "{other}");
    }
}

#[test]
fn the_command_line_goes_over_everything() {
    let environment = Environment::of("/elsewhere", [("ALLUVIAL_LAKE__URL", "gs://bucket")]);
    let parse = |lake: &str| {
        let overrides = Overrides { lake: Some(lake.to_owned()) };
        Settings::parse("alluvial.toml", LEAST, Path::new("/shop"), &environment, &overrides)
    };
    assert_eq!(parse("lake").unwrap().lake.url.as_str(), "file:///elsewhere/lake/");
    assert_eq!(parse("ftp://x").unwrap_err().kind(), crate::error::Kind::Usage);
}

#[test]
fn the_memory_limit_is_a_share_of_the_machines() {
    let limit = |memory| {
        let environment = Environment::of("/shop", []).with_machine(Machine { memory, cores: 0 });
        let settings = Settings::parse("a", LEAST, Path::new("/shop"), &environment, &Overrides::default()).unwrap();
        (settings.engine.memory_limit, settings.engine.threads)
    };
    assert_eq!(limit(Some(8_000_000_000)), (4_800_000_000, 1));
    assert_eq!(limit(Some(100)), (256_000_000, 1));
    assert_eq!(limit(None), (2_000_000_000, 1));
}

#[test]
fn churned_comes_no_earlier_than_lapsed() {
    let found = faults(load(&format!("{LEAST}[lifecycle]\nchurned_gap_days = 200\n"), &[]));
    insta::assert_snapshot!(found, @"5:20 config.out_of_range: `lifecycle.churned_gap_days` (200) must not be below `lapsed_gap_days` (365): whoever churns has lapsed");
}

proptest::proptest! {
    /// Whatever stands in the file, reading it ends in settings or in faults.
    #[test]
    fn no_file_panics(text in "\\PC{0,200}", value in "\\PC{0,20}") {
        let _ = load(&text, &[]);
        let _ = load(&format!("{LEAST}[engine]\nmemory_limit = {value:?}\nthreads = {value}"), &[]);
        let _ = load(LEAST, &[("ALLUVIAL_ENGINE__MEMORY_LIMIT", value.as_str()), ("ALLUVIAL_FIELDS__A__OPTIONS", value.as_str())]);
    }
}
