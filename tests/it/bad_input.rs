//! Bad input: every fault stops a run with its place and what to do, and leaves the last published day as it was.

use std::collections::BTreeMap;
use std::fs;

use crate::harness::{PROJECT, Ran, assert_ran};
use crate::landing_files::TinyShop;

const NIGHT: [&str; 4] = ["run", "nightly", "--as-of", "2026-03-02"];

/// Every file of the lake with its bytes, what people land apart.
fn stored(shop: &TinyShop) -> BTreeMap<String, Vec<u8>> {
    let ours = shop.files("lake").into_iter().filter(|file| !file.starts_with("landing/"));
    ours.map(|file| (file.clone(), fs::read(shop.folder.path().join("lake").join(file)).unwrap())).collect()
}

/// Publishes a day, breaks something, and runs the next day, which must fail and leave nothing behind but its record.
fn refused(breaks: impl FnOnce(&TinyShop)) -> Ran {
    let shop = TinyShop::after_a_night();
    let before = stored(&shop);
    breaks(&shop);
    let ran = shop.run(&NIGHT);
    assert_eq!(ran.code, 1, "{}", ran.shown());
    assert_eq!(ran.stdout, "");
    let after = stored(&shop);
    for (file, bytes) in &before {
        assert!(after.get(file) == Some(bytes), "{file} of the published day has changed");
    }
    let new: Vec<&String> = after.keys().filter(|file| !before.contains_key(*file)).collect();
    // Its row, its details, its attempt, and what is told of it.
    let record = ["tables/job_runs/", "state/runs/", "state/jobs/", "state/alerts/"];
    let of_the_record = |file: &&String| record.iter().any(|folder| file.starts_with(folder));
    assert!(new.iter().all(of_the_record), "half of a day was written: {new:?}");
    ran
}

const FAULTY: &str = "
order_id,ordered_at:text,updated_at,total,customer_id,email,status,currency
,2026-02-01T10:00:00Z,,10.00,a,,paid,
f1,2026-02-01T10:00:00Z,,10.00,a,,wobbly,
f2,last tuesday,,10.00,a,,paid,
f3,2036-02-01T10:00:00Z,,10.00,a,,paid,
f4,2026-02-01T10:00:00Z,,-10.00,a,,paid,
f5,2026-02-01T10:00:00Z,,10.00,a,,paid,SEK
f6,2026-02-01T10:00:00Z,,10.00,a,,paid,EUR
";

#[test]
fn faulty_rows_below_the_ratio_are_kept_and_counted() {
    let shop = TinyShop::new();
    shop.settings("[landing]\nmax_reject_ratio = \"50%\"");
    shop.land("rates/all", "date,currency,rate\n2026-01-01,EUR,7.46038").land("orders/faulty", FAULTY);
    assert_ran!(shop.run(&NIGHT), @r"
    $ alluvial run nightly --as-of 2026-03-02
    exit code 0
    ----- stdout -----
    nightly as of 2026-03-02: published
    run [RUN], the first published day; some rows have no version time

    rows in      files  rows  rejected
    customers        1     4         0
    orders           2    14         6
    order_items      1     8         0
    rates            1     1         0

    rejected  rule             rows
    orders    far_future_time     1
    orders    negative_value      1
    orders    no_rate             1
    orders    null_id             1
    orders    unknown_status      1
    orders    unparsable_time     1

    left out     reason             rows
    order_items  order_comes_later     1

    customers  5
    lifecycle  the benchmark model: too few buyers, or too few days, for one of the shop's own

    stage           customers  share
    loyal                   0   0.0%
    high_potential          2  40.0%
    nurture_needed          2  40.0%
    dormant                 0   0.0%
    churned                 0   0.0%
    prospect                1  20.0%

    segment    members  entered  exited
    buyers           4
    danes            3
    prospects        1
    repeat           2

    step       seconds  peak MB  rows
    land  [SECONDS]  [MB]  27
    profile  [SECONDS]  [MB]  5
    lifecycle  [SECONDS]  [MB]  5
    segments  [SECONDS]  [MB]  10
    write  [SECONDS]  [MB]  55
    publish  [SECONDS]  [MB]
    ----- stderr -----
    ");
    assert_ran!(
        shop.run(&["query", "SELECT \"table\", key, file, \"row\", \"column\", rule, value FROM rejects ORDER BY \"row\""]),
        @r#"
        $ alluvial query 'SELECT "table", key, file, "row", "column", rule, value FROM rejects ORDER BY "row"'
        exit code 0
        ----- stdout -----
        table   key  file                           row  column      rule             value
        orders       landing/orders/faulty.parquet    0  order_id    null_id
        orders  f1   landing/orders/faulty.parquet    1  status      unknown_status   wobbly
        orders  f2   landing/orders/faulty.parquet    2  ordered_at  unparsable_time  last tuesday
        orders  f3   landing/orders/faulty.parquet    3  ordered_at  far_future_time  2036-02-01T10:00:00Z
        orders  f4   landing/orders/faulty.parquet    4  total       negative_value   -10.00
        orders  f5   landing/orders/faulty.parquet    5  currency    no_rate          SEK
        ----- stderr -----
        "#
    );
}

#[test]
fn faulty_rows_above_the_ratio_stop_the_run() {
    assert_ran!(
        refused(|shop| {
            shop.land("rates/all", "date,currency,rate\n2026-01-01,EUR,7.46038").land("orders/faulty", FAULTY);
        }),
        @r"
        $ alluvial run nightly --as-of 2026-03-02
        exit code 1
        ----- stdout -----
        ----- stderr -----
        error[land.too_many_rejects]: orders: 6 of 14 rows are faulty (far_future_time in ordered_at: 1, negative_value in total: 1, no_rate in currency: 1, null_id in order_id: 1, unknown_status in status: 1, unparsable_time in ordered_at: 1); see row 0, 1, 2 of [DIR]/lake/landing/orders/faulty.parquet
          = help: mend what lands these tables, or raise `[landing] max_reject_ratio`; land a refund as `refunded` of its order, not as an order of a negative total
        "
    );
}

#[test]
fn a_parquet_file_that_is_cut_short() {
    assert_ran!(
        refused(|shop| {
            let bytes = fs::read(shop.landed("orders/all")).unwrap();
            fs::write(shop.landed("orders/cut"), &bytes[..bytes.len() / 2]).unwrap();
        }),
        @r"
        $ alluvial run nightly --as-of 2026-03-02
        exit code 1
        ----- stdout -----
        ----- stderr -----
        error[lake.truncated_parquet]: this Parquet file is not whole: it does not end with `PAR1`
         --> [DIR]/lake/landing/orders/cut.parquet
          = help: land the file again; it may still have been uploading
        "
    );
}

#[test]
fn a_required_column_that_is_missing() {
    assert_ran!(
        refused(|shop| {
            shop.land("orders/more", "order_id,ordered_at,Total,customer_id\nx,2026-02-01T10:00:00Z,1.00,a");
        }),
        @r#"
        $ alluvial run nightly --as-of 2026-03-02
        exit code 1
        ----- stdout -----
        ----- stderr -----
        error[land.missing_column]: the required column `total` of orders is missing
         --> [DIR]/lake/landing/orders/more.parquet
          = help: if `Total` is it, write `columns = { total = "Total" }` under `[tables.orders]`
        "#
    );
}

#[test]
fn a_required_column_of_an_impossible_type() {
    assert_ran!(
        refused(|shop| {
            shop.land("orders/more", "order_id,ordered_at,total:bool,customer_id\nx,2026-02-01T10:00:00Z,true,a");
        }),
        @r"
        $ alluvial run nightly --as-of 2026-03-02
        exit code 1
        ----- stdout -----
        ----- stderr -----
        error[land.column_type]: column `total` of orders cannot be read as money: it holds booleans
         --> [DIR]/lake/landing/orders/more.parquet
          = help: land `total` as a decimal, a float or an integer, or map another column to it in `[tables.orders] columns`
        "
    );
}

#[test]
fn several_currencies_and_no_rates() {
    assert_ran!(
        refused(|shop| {
            let orders = "order_id,ordered_at,total,customer_id,currency
                          x,2026-02-01T10:00:00Z,1.00,a,EUR
                          y,2026-02-01T10:00:00Z,1.00,a,sek";
            shop.land("orders/abroad", orders);
        }),
        @r"
        $ alluvial run nightly --as-of 2026-03-02
        exit code 1
        ----- stdout -----
        ----- stderr -----
        error[land.no_rates]: orders are in EUR, SEK besides the shop's DKK, and no rates were landed
          = help: land `rates` (date, currency, rate: DKK for one unit), or set `[project] currency` if DKK is not the shop's
        "
    );
}

#[test]
fn a_time_zone_that_does_not_exist() {
    assert_ran!(
        refused(|shop| shop.folder.write("alluvial.toml", &PROJECT.replace("Copenhagen", "Kopenhagen"))),
        @r#"
        $ alluvial run nightly --as-of 2026-03-02
        exit code 1
        ----- stdout -----
        ----- stderr -----
        error[calendar.unknown_zone]: the time zone `Europe/Kopenhagen` does not exist
         --> alluvial.toml:3:12
          |
        3 | timezone = "Europe/Kopenhagen"
          |            ^^^^^^^^^^^^^^^^^^^
          |
          = help: did you mean `Europe/Copenhagen`?
        "#
    );
}

#[test]
fn a_segment_that_does_not_parse() {
    assert_ran!(
        refused(|shop| {
            shop.segment("vip", "amount_spent > 5000 AND (number_of_orders > 3");
            shop.segment("typo", "amuont_spent > 5000 AND country = 5");
        }),
        @r#"
        $ alluvial run nightly --as-of 2026-03-02
        exit code 1
        ----- stdout -----
        ----- stderr -----
        error[segment.unknown_attribute]: there is no attribute `amuont_spent`
         --> sql/segments/typo.toml:3:10
          |
        3 | query = "amuont_spent > 5000 AND country = 5"
          |          ^^^^^^^^^^^^
          |
          = help: did you mean `amount_spent`?

        error[segment.wrong_type]: `country` is text, and is not compared with a whole number
         --> sql/segments/typo.toml:3:44
          |
        3 | query = "amuont_spent > 5000 AND country = 5"
          |                                            ^
          |
          = help: write it between quotes: `'5'`

        error[segment.unclosed_parenthesis]: this parenthesis is not closed
         --> sql/segments/vip.toml:3:34
          |
        3 | query = "amount_spent > 5000 AND (number_of_orders > 3"
          |                                  ^
          |
          = help: close it with `)`

        3 faults were found
        "#
    );
}

#[test]
fn a_cycle_of_segments() {
    assert_ran!(
        refused(|shop| {
            shop.segment("one", "number_of_orders > 1 AND segment('two')");
            shop.segment("two", "segment('three')").segment("three", "NOT segment('one')");
        }),
        @r#"
        $ alluvial run nightly --as-of 2026-03-02
        exit code 1
        ----- stdout -----
        ----- stderr -----
        error[segment.cycle]: segments refer to each other in a circle: one → two → three → one
         --> sql/segments/one.toml:3:43
          |
        3 | query = "number_of_orders > 1 AND segment('two')"
          |                                           ^^^^^
          |
          = help: repeat a part of one query instead of referring to it
        "#
    );
}

#[test]
fn two_segments_of_one_id() {
    assert_ran!(
        refused(|shop| {
            shop.segment("big-spenders", "amount_spent > 100").segment("big_spenders", "amount_spent > 200");
        }),
        @r#"
        $ alluvial run nightly --as-of 2026-03-02
        exit code 1
        ----- stdout -----
        ----- stderr -----
        error[segment.same_id]: `big-spenders` and `big_spenders` are one segment, since dashes count as underscores
         --> sql/segments/big_spenders.toml:1:1
          |
        1 | name = "big_spenders"
          | ^
          |
          = help: rename one of the files
        "#
    );
}

#[test]
fn a_lake_that_is_a_file() {
    assert_ran!(
        refused(|shop| {
            shop.folder.write("a-file", "not a folder\n");
            shop.settings("[lake]\nurl = \"a-file\"");
        }),
        @r"
        $ alluvial run nightly --as-of 2026-03-02
        exit code 1
        ----- stdout -----
        ----- stderr -----
        error[lake.not_writable]: cannot write in the lake [DIR]/a-file/: cannot make the folder [DIR]/a-file: not a directory
          = help: choose another folder with `[lake] url` or `--lake`, or give this user the right to write there; the file system must know hard links
        "
    );
}

#[test]
fn a_lake_that_is_not_writable() {
    assert_ran!(
        refused(|shop| {
            shop.settings("[lake]\nurl = \"/proc/alluvial\"");
        }),
        @r"
        $ alluvial run nightly --as-of 2026-03-02
        exit code 1
        ----- stdout -----
        ----- stderr -----
        error[lake.not_writable]: cannot write in the lake /proc/alluvial/: No such file or directory (os error 2)
          = help: choose another folder with `[lake] url` or `--lake`, or give this user the right to write there; the file system must know hard links
        "
    );
}

#[test]
fn an_as_of_date_before_anything_landed() {
    let shop = TinyShop::new();
    assert_ran!(shop.run(&["run", "nightly", "--as-of", "2024-12-31"]), @r"
    $ alluvial run nightly --as-of 2024-12-31
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[snapshot.before_data]: nobody is a customer as of 2024-12-31: the first one came on 2025-01-10
      = help: take an as-of date from 2025-01-10 on
    ");
    assert_eq!(shop.one("SELECT count(*) FROM snapshots"), "0");
    assert_eq!(shop.run(&["run", "nightly", "--as-of", "2025-01-10"]).code, 0, "the day on which the first came");
}

#[test]
fn an_as_of_date_after_yesterday() {
    let shop = TinyShop::new();
    assert_ran!(shop.run(&["run", "nightly", "--as-of", "2026-04-01"]), @r"
    $ alluvial run nightly --as-of 2026-04-01
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[run.future_day]: 2026-04-01 is not over yet: in Europe/Copenhagen it is 2026-04-01
      = help: the last day that can be computed is 2026-03-31
    ");
    assert_eq!(shop.run(&["run", "nightly", "--as-of", "2026-03-31"]).code, 0, "yesterday");
}

#[test]
fn nothing_is_landed_yet() {
    assert_ran!(TinyShop::empty().run(&NIGHT), @r"
    $ alluvial run nightly --as-of 2026-03-02
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[snapshot.nothing_landed]: no customers and no orders are landed: there are none in [DIR]/lake/landing/customers and in [DIR]/lake/landing/orders
      = help: land a file with `alluvial land orders FILE`, or try `alluvial demo` first
    ");
}

#[test]
fn an_empty_optional_table_is_nothing() {
    let shop = TinyShop::new();
    let plain = shop.night("2026-03-01");
    let bytes = shop.bytes("2026-03-01");
    shop.land("events/none", "event_id,occurred_at,type,customer_id").land("products/none", "product_id,title,price");
    shop.land("identities/none", "anonymous_id,customer_id,linked_at").land("rates/none", "date,currency,rate");
    shop.land("suppressions/none", "channel,identifier,until");
    let with = shop.night("2026-03-01");
    assert_eq!(with["status"], "succeeded");
    assert_eq!((&with["customers"], &with["segments"]), (&plain["customers"], &plain["segments"]));
    assert_eq!(shop.bytes("2026-03-01"), bytes);
}

#[test]
fn a_shop_without_orders_has_prospects() {
    let shop = TinyShop::empty();
    shop.land("customers/all", crate::landing_files::CUSTOMERS);
    shop.segment("prospects", "number_of_orders = 0").segment("loyal", "lifecycle_stage = 'loyal'");
    assert_ran!(shop.run(&NIGHT), @r"
    $ alluvial run nightly --as-of 2026-03-02
    exit code 0
    ----- stdout -----
    nightly as of 2026-03-02: published
    run [RUN], the first published day

    rows in    files  rows  rejected
    customers      1     4         0

    customers  4
    lifecycle  the benchmark model: too few buyers, or too few days, for one of the shop's own

    stage           customers   share
    loyal                   0    0.0%
    high_potential          0    0.0%
    nurture_needed          0    0.0%
    dormant                 0    0.0%
    churned                 0    0.0%
    prospect                4  100.0%

    segment    members  entered  exited
    loyal            0
    prospects        4

    step       seconds  peak MB  rows
    land  [SECONDS]  [MB]  4
    profile  [SECONDS]  [MB]  4
    lifecycle  [SECONDS]  [MB]  4
    segments  [SECONDS]  [MB]  4
    write  [SECONDS]  [MB]  22
    publish  [SECONDS]  [MB]
    ----- stderr -----
    warning: sql/segments/loyal.toml:3:10: no landed file has the data of `lifecycle_stage`
    warning: sql/segments/prospects.toml:3:10: no landed file has the data of `number_of_orders`
    warning: no counted order before the cutoff: everybody is a prospect
    ");
    assert_eq!(
        shop.rows("SELECT DISTINCT lifecycle_stage, rfm_group FROM customer_profile_latest"),
        ["prospect prospects"]
    );
}

#[test]
fn customers_are_those_of_the_orders_where_none_are_landed() {
    let shop = TinyShop::empty();
    shop.land("orders/all", crate::landing_files::ORDERS).segment("repeat", "number_of_orders > 1");
    assert_eq!(shop.night("2026-03-02")["customers"], 4);
    assert_eq!(shop.members("repeat", "2026-03-02"), ["a", "b"]);
}
