//! Audiences: who is written, who is not and why, the bytes of every format, and the ledger.

use std::io::Read;

use serde_json::Value;

use crate::harness::Ran;
use crate::landing_files::TinyShop;

/// What becomes of each when e-mail is asked for: a is written; b never consented; c is written for the address that d shares;
/// d's end is before c's consent; e's address was ended by f later; g is pending; h is suppressed by the domain; i unsubscribes
/// after the day; j is deleted after the day; k's address is invalid.
const PEOPLE: &str = "
customer_id,created_at,updated_at,email,phone,first_name,last_name,country,region,city,postal_code,address,gender,birthday,email_consent,email_consent_at,email_consent_source,sms_consent,sms_consent_at,ads_consent,email_valid
a,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,Ann@Example.com,32 12 34 56,Ann-Marie,Ager,DK,Midt,Aarhus C,8000,\"Gade 1, 2. tv\",female,1980-05-17,subscribed,2025-01-10T10:00:00Z,checkout,subscribed,2025-01-11T10:00:00Z,granted,
b,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,bob.b@gmail.com,+49 30 901820,Bob,Müller,DE,,Berlin,10178,,m,,never,,,never,,granted,
c,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,cid@example.com,,=1+1,Carl,DK,,Odense,5000,Vej 3,,,subscribed,2026-02-01T10:00:00Z,form,,,denied,
d,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,CID@example.com,,Dea,Dahl,DK,,,,,,,unsubscribed,2026-01-01T10:00:00Z,,,,granted,
e,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,eve@example.com,,Eve,Elm,DK,,,,,,,subscribed,2025-12-01T10:00:00Z,,,,,
f,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,eve@example.com,,Eve,Elm,DK,,,,,,,unsubscribed,2026-02-01T10:00:00Z,,,,,
g,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,gus@example.com,+4532123457,Gus,Gro,DK,,,,,,,pending,2025-12-01T10:00:00Z,,pending,2025-12-01T10:00:00Z,,
h,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,hal@blocked.example,+4532123458,Hal,Hu,DK,,,,,,,subscribed,2025-12-01T10:00:00Z,,subscribed,2025-12-01T10:00:00Z,,
i,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,ida@example.com,,Ida,Is,DK,,,,,,,subscribed,2025-12-01T10:00:00Z,,,,,
j,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,jan@example.com,,Jan,Jo,DK,,,,,,,subscribed,2025-12-01T10:00:00Z,,,,,
k,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,kai@example.com,,Kai,Ko,DK,,,,,,,subscribed,2025-12-01T10:00:00Z,,,,,false
";

const SUPPRESSIONS: &str = "
channel,identifier,reason,until
email,@Blocked.example,asked,
sms,+4532123458,asked,
email,bob.b@gmail.com,over,2026-03-31
";

/// The shop of [`PEOPLE`] on the 1st of March, with what came after.
pub(crate) fn shop() -> TinyShop {
    let shop = TinyShop::empty();
    shop.land("customers/dt=2026-02-20/all", PEOPLE).land("suppressions/all", SUPPRESSIONS);
    shop.land("orders/all", "order_id,ordered_at,total,customer_id\no1,2026-01-01T10:00:00Z,10.00,a\n");
    shop.segment("everyone", "number_of_orders >= 0").segment("danes", "customer_countries CONTAINS 'DK'");
    shop.segment_with("buyers", "number_of_orders >= 1", "priority = 1");
    shop.night("2026-03-01");
    shop.land(
        "customers/dt=2026-03-15/later",
        "customer_id,updated_at,deleted_at\nj,2026-03-15T10:00:00Z,2026-03-15T10:00:00Z\n",
    );
    shop.land("events/all", "event_id,occurred_at,type,customer_id\ne1,2026-03-20T10:00:00Z,email_unsubscribed,i\n");
    shop
}

/// A refusal: its exit code, and words of what is said.
fn told(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{}", ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is not said: {}", ran.stderr);
    }
}

fn export(shop: &TinyShop, arguments: &[&str]) -> Value {
    let ran = shop.run(&[&["export"], arguments, &["--report", "json", "--quiet"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// What is written to the output.
fn printed(shop: &TinyShop, arguments: &[&str]) -> String {
    let ran = shop.run(&[&["export"], arguments, &["--to", "-", "--quiet"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    ran.stdout.replace('\r', "")
}

#[test]
fn every_step_is_counted_and_every_address_written_once() {
    let shop = shop();
    let report = export(&shop, &["everyone", "--format", "email", "--to", "out/{as_of}.csv"]);
    assert_eq!(
        report[0]["counts"],
        serde_json::json!({
            "members": 11, "gone": 1, "with_address": 10, "consented": 4, "not_suppressed": 3, "one_per_address": 2,
            "not_held_out": 2, "written": 2
        })
    );
    assert_eq!(shop.one("SELECT count(*) FROM export_members WHERE variant = 'treatment'"), "2");
    insta::assert_snapshot!(shop.folder.read("out/2026-03-01.csv").replace('\r', ""), @r#"
    customer_id,name,email,phone,email_consent,email_consent_at,email_consent_source,sms_consent,sms_consent_at
    a,Ann-Marie Ager,Ann@Example.com,+4532123456,subscribed,2025-01-10T10:00:00Z,checkout,subscribed,2025-01-11T10:00:00Z
    c,'=1+1 Carl,cid@example.com,,subscribed,2026-02-01T10:00:00Z,form,not_subscribed,
    "#);
}

/// Since the day b became a, who is a member too, and x became z, who is none; a guest is known by an order alone, and so was q,
/// whose order is not landed any more.
#[test]
fn a_member_is_found_under_whatever_name_is_landed_now() {
    let shop = TinyShop::empty();
    let head = "customer_id,created_at,email,first_name,email_consent,email_consent_at\n";
    let person = |id: &str, name: &str| {
        format!("{id},2025-01-10T10:00:00Z,{id}@example.com,{name},subscribed,2025-01-10T10:00:00Z\n")
    };
    shop.land("customers/all", &format!("{head}{}{}{}", person("a", "Ann"), person("b", "Bea"), person("x", "Xi")));
    shop.land(
        "orders/guest",
        "order_id,ordered_at,total,customer_id,email\no1,2026-01-01T10:00:00Z,10.00,,pia@example.com\n",
    );
    shop.land(
        "orders/q",
        "order_id,ordered_at,total,customer_id,email\no2,2026-01-01T10:00:00Z,10.00,q,qi@example.com\n",
    );
    shop.segment("everyone", "number_of_orders >= 0");
    shop.night("2026-03-01");
    shop.land("customers/more", &format!("{head}{}", person("z", "Zoe")));
    shop.land(
        "identities/all",
        "anonymous_id,customer_id,linked_at\nb,a,2026-03-10T10:00:00Z\nx,z,2026-03-10T10:00:00Z\n",
    );
    std::fs::remove_file(shop.folder.path().join("lake/landing/orders/q.parquet")).unwrap();

    let report = export(&shop, &["everyone", "--format", "email", "--to", "out/one.csv"]);
    assert_eq!(
        report[0]["counts"],
        serde_json::json!({
            "members": 5, "gone": 1, "with_address": 4, "consented": 3, "not_suppressed": 3, "one_per_address": 2,
            "not_held_out": 2, "written": 2
        })
    );
    insta::assert_snapshot!(shop.folder.read("out/one.csv").replace('\r', ""), @r#"
    customer_id,name,email,phone,email_consent,email_consent_at,email_consent_source,sms_consent,sms_consent_at
    a,Ann,a@example.com,,subscribed,2025-01-10T10:00:00Z,,not_subscribed,
    x,Zoe,z@example.com,,subscribed,2025-01-10T10:00:00Z,,not_subscribed,
    "#);
    let lines = printed(&shop, &["everyone", "--format", "jsonl"]);
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let told: Vec<[String; 2]> = rows.iter().map(|row| [text(row, "customer_id"), text(row, "email")]).collect();
    let guest = told.iter().map(|[id, _]| id.as_str()).find(|id| id.starts_with("guest:")).unwrap_or("no guest");
    let expected = [["a", "a@example.com"], ["b", "a@example.com"], [guest, ""], ["x", "z@example.com"]];
    assert_eq!(told, expected);
}

#[test]
fn the_bytes_of_the_formats_for_people() {
    let shop = shop();
    insta::assert_snapshot!(printed(&shop, &["everyone", "--format", "basic"]), @r#"
    customer_id,name,address,postal_code,city,region,country,email_consent,email_consent_at,email_consent_source,sms_consent,sms_consent_at
    a,Ann-Marie Ager,"Gade 1, 2. tv",8000,Aarhus C,Midt,DK,subscribed,2025-01-10T10:00:00Z,checkout,subscribed,2025-01-11T10:00:00Z
    c,'=1+1 Carl,Vej 3,5000,Odense,,DK,subscribed,2026-02-01T10:00:00Z,form,not_subscribed,
    "#);
    insta::assert_snapshot!(printed(&shop, &["everyone", "--format", "sms"]), @r#"
    customer_id,name,phone,country,sms_consent,sms_consent_at
    a,Ann-Marie Ager,+4532123456,DK,subscribed,2025-01-11T10:00:00Z
    "#);
    let extended = printed(&shop, &["everyone", "--format", "extended"]);
    let mut rows = csv::Reader::from_reader(extended.as_bytes());
    let head = rows.headers().unwrap().clone();
    let place = |name: &str| head.iter().position(|found| found == name).unwrap_or_else(|| panic!("{name}"));
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 10, "whoever is deleted is not in it");
    let blank: Vec<(&str, bool, bool)> =
        rows.iter().map(|row| (&row[0], row[place("email")].is_empty(), row[place("phone")].is_empty())).collect();
    assert_eq!(
        blank.iter().filter(|(_, email, _)| !email).map(|(id, ..)| *id).collect::<Vec<_>>(),
        ["a", "c", "d"],
        "an address is there where its channel may be used"
    );
    assert_eq!(blank.iter().filter(|(.., phone)| !phone).map(|(id, ..)| *id).collect::<Vec<_>>(), ["a"]);
    assert_eq!(&rows[0][place("number_of_orders")], "1");
    assert_eq!(&rows[2][place("first_name")], "'=1+1");
}

/// The hashes are those of Python's hashlib over values that were normalised by hand, as the platforms' documentation says.
#[test]
fn the_bytes_of_the_formats_for_platforms() {
    let shop = shop();
    insta::assert_snapshot!(printed(&shop, &["everyone", "--format", "facebook"]), @r#"
    email,phone,fn,ln,zip,ct,st,country,doby,gen
    71d4f55f72fa128dfb468a1a3901507c804b74316488744d769d7f4b16696476,dffe14749b8a85502ff45a83de4976badb781f671b854a69d370869989e5826e,2322d03565a46ece1e31e5ef0d5f79f5a0ee0dc96ff666e52948e52e0298850e,ab3a74d446cd31fd2609e1ef11c930045fdd68c71d4c0fde03bbc71c1ff8034b,ad5f9478d603fe97eae2bbff07f76fe7f18610343b5f3bc8e00945ee51b30d2c,e26c547b847de74414260d46e9583d92f7939f3f25aa9e8db630df0893bfb7be,39fea455630cbe2061bb70aa8eb1c6af5012c330694af0f096782ea95493e7e7,867b4bf4357a7c0e415ffd537f61ea8785dd47113104000b534a130c98a42ce8,051c2e380d07844ffaca43743957f8c0efe2bdf74c6c1e6a9dcccb8d1a3c596b,252f10c83610ebca1a059c0bae8255eba2f95be4d1d7bcfa89d7248a82d9f111
    be98a96cd4e038b80fecd6df35cb3771fd35f4dc16aac7c359afa5a5a72d3161,c03f76216358b07b09a300613908002987efc1ae9a2ef2a85d57d5a971bf821a,81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd9ec58ce9,2dbd218072117713f2d5996a726a9b216ed791ffd0783b6ba4ab6d61b8333192,90745684664e377f951f0da7a6c72a10dd5780e33bbbf8878850e263e7a1705e,fb38a93fd89e1a5fc7852a5d7109e321d23a721a1899292273ac5a21dc4db378,,959a45d44e6fcf58361ed004681556fe50129f2109e817dec098c00c9e5d2578,,62c66a7a5dd70c3146618063c344e531e6d4b59e379808443ce962b3abd63c5a
    "#);
    insta::assert_snapshot!(printed(&shop, &["everyone", "--format", "google"]), @r#"
    Email,Phone,First Name,Last Name,Country,Zip
    71d4f55f72fa128dfb468a1a3901507c804b74316488744d769d7f4b16696476,33379646eb3f70962c54c0193f3d19be2483cab61e31f3e3be5fed9e0e17ae4e,f0c76d62a57c86e4422ca908f9865d1ee0bdb3da6936230fedfe07d336659826,ab3a74d446cd31fd2609e1ef11c930045fdd68c71d4c0fde03bbc71c1ff8034b,DK,8000
    7b5b18dcd004a41030a0aadd9b037317788e709ff0a018f0f7afc7742d45be50,4db5829924ee5c466cbd9ac69b2a6af527f758614fa3b3aec8c89b16a709a678,81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd9ec58ce9,2dbd218072117713f2d5996a726a9b216ed791ffd0783b6ba4ab6d61b8333192,DE,10178
    "#);
    insta::assert_snapshot!(printed(&shop, &["everyone", "--format", "klaviyo"]), @r#"
    Email,Phone Number,First Name,Last Name,Address,City,State / Region,Country,Zip Code,Email Marketing Consent,Email Marketing Consent Timestamp,Source,External ID
    Ann@Example.com,+4532123456,Ann-Marie,Ager,"Gade 1, 2. tv",Aarhus C,Midt,DK,8000,Subscribed,2025-01-10T10:00:00Z,checkout,a
    cid@example.com,,=1+1,Carl,Vej 3,Odense,,DK,5000,Subscribed,2026-02-01T10:00:00Z,form,c
    "#);
    insta::assert_snapshot!(printed(&shop, &["everyone", "--format", "mailchimp"]), @r#"
    Email Address,First Name,Last Name,Phone Number,OPTIN_TIME,CONSENT_SOURCE,CUSTOMER_ID
    Ann@Example.com,Ann-Marie,Ager,+4532123456,2025-01-10T10:00:00Z,checkout,a
    cid@example.com,=1+1,Carl,,2026-02-01T10:00:00Z,form,c
    "#);
}

#[test]
fn machines_get_types_and_exact_text() {
    let shop = shop();
    let lines = printed(&shop, &["everyone", "--format", "jsonl"]);
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 10);
    assert_eq!(rows[2]["first_name"], "=1+1", "machine formats are exact");
    assert_eq!((&rows[0]["number_of_orders"], &rows[1]["email"]), (&Value::from(1), &Value::Null));
    export(&shop, &["everyone", "--format", "parquet", "--to", "out/all.parquet"]);
    let file = std::fs::File::open(shop.folder.path().join("out/all.parquet")).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = std::sync::Arc::clone(reader.schema());
    assert_eq!(schema.field_with_name("number_of_orders").unwrap().data_type(), &arrow::datatypes::DataType::Int64);
    assert_eq!(reader.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 10);
}

#[test]
fn consent_is_never_guessed() {
    let shop = TinyShop::empty();
    shop.land("customers/all", "customer_id,created_at,email\na,2025-01-10T10:00:00Z,ann@example.com\n");
    shop.segment("everyone", "number_of_orders >= 0");
    shop.night("2026-03-01");
    told(
        &shop.run(&["export", "everyone", "--format", "email", "--to", "x.csv"]),
        1,
        &["audience.no_consent", "email_consent"],
    );
    told(
        &shop.run(&["export", "everyone", "--format", "facebook", "--to", "x.csv"]),
        1,
        &["audience.ads_requires", "[exports]"],
    );
    told(
        &shop.run(&["export", "everyone", "--format", "email", "--no-consent-check", "--to", "x.csv"]),
        2,
        &["audience.consent_check"],
    );
    assert_eq!(shop.files(".").iter().filter(|file| file.contains("x.csv")).count(), 0, "nothing is left behind");
    shop.settings("[exports]\nads_requires = \"none\"");
    assert_eq!(export(&shop, &["everyone", "--format", "google", "--to", "g.csv"])[0]["ads_consent"], "unspecified");
    let extended = printed(&shop, &["everyone", "--format", "extended"]);
    assert!(!extended.contains("ann@example.com"), "{extended}");
    let ran = shop.run(&["export", "everyone", "--format", "extended", "--no-consent-check", "--to", "all.csv"]);
    assert_eq!(ran.code, 0);
    assert!(shop.folder.read("all.csv").contains("ann@example.com"));
    assert_eq!(
        shop.rows("SELECT format, json FROM (SELECT format, counts AS json, created_at FROM exports WHERE counts LIKE '%\"consent_check\":false%')").len(),
        1,
        "whoever passes the door without asking is recorded"
    );
}

/// b and a have said yes to advertising, c and d's address no, and of the others nothing is known.
#[test]
fn rows_of_two_states_of_consent_are_two_files_where_a_platform_asks_by_file() {
    let shop = shop();
    let one = export(&shop, &["everyone", "--format", "google", "--to", "out/one.csv"]);
    assert_eq!((&one[0]["ads_consent"], &one[0]["counts"]["written"]), (&Value::from("granted"), &Value::from(2)));
    assert!(shop.folder.read("out/one.csv").starts_with("Email,"), "one state is one file");
    shop.settings("[exports]\nads_requires = \"none\"");
    let two = export(&shop, &["everyone", "--format", "google", "--to", "out/two.csv"]);
    let split = two[0]["split"].as_array().unwrap();
    assert_eq!((&two[0]["ads_consent"], &split[0]), (&Value::from("mixed"), &serde_json::json!(["granted", 2])));
    let lines = |file: &str| shop.folder.read(file).lines().count() as u64 - 1;
    assert_eq!(lines("out/two.granted.csv"), 2);
    assert_eq!(lines("out/two.unspecified.csv"), split[1][1].as_u64().unwrap());
    assert_eq!(two[0]["counts"]["written"].as_u64().unwrap(), 2 + split[1][1].as_u64().unwrap());
    assert!(split[1][1].as_u64().unwrap() > 0, "{split:?}");
    told(
        &shop.run(&["export", "everyone", "--format", "google", "--to", "-"]),
        2,
        &["audience.split_stream", "[exports]"],
    );
}

#[test]
fn a_dry_run_masks_and_writes_nothing() {
    let shop = shop();
    let ran = shop.run(&["export", "everyone", "--format", "email", "--dry-run"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("one per address"), "{}", ran.stdout);
    let text = ran.shown().to_lowercase();
    for personal in ["example.com", "ann-marie", "ager", "32123456"] {
        assert!(!text.contains(personal), "{personal}");
    }
    assert_eq!(shop.one("SELECT count(*) FROM exports"), "0");
}

#[test]
fn files_are_compressed_and_cut_and_whole_or_not_there() {
    let shop = shop();
    let report = export(&shop, &["everyone", "--format", "extended", "--rows-per-file", "4", "--to", "out/x.csv.gz"]);
    assert_eq!(report[0]["files"].as_array().unwrap().len(), 3);
    let mut text = String::new();
    for number in 1..=3 {
        let file = std::fs::File::open(shop.folder.path().join(format!("out/x-0000{number}.csv.gz"))).unwrap();
        let mut part = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut part).unwrap();
        assert!(part.starts_with("customer_id,"), "every part has the header");
        text.push_str(part.split_once("\r\n").unwrap().1);
    }
    assert_eq!(csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes()).records().count(), 10);
    export(&shop, &["everyone", "--format", "email", "--to", "out/y.csv.zst"]);
    let bytes = std::fs::read(shop.folder.path().join("out/y.csv.zst")).unwrap();
    let plain = zstd::decode_all(bytes.as_slice()).unwrap();
    assert!(String::from_utf8(plain).unwrap().contains("Ann@Example.com"));
    // A format whose mapping fails half-way leaves nothing.
    shop.folder.write(
        "sql/exports/broken.toml",
        "encoding = \"csv\"\nchannel = \"none\"\n[[columns]]\nname = \"x\"\nvalue = \"CAST(customer_id AS BIGINT)\"\n",
    );
    let ran = shop.run(&["export", "everyone", "--format", "broken", "--to", "out/broken.csv"]);
    assert_eq!(ran.code, 1);
    assert!(shop.files("out").iter().all(|file| !file.contains("broken")), "{:?}", shop.files("out"));
    assert_eq!(shop.one("SELECT count(*) FROM exports"), "2");
}

#[test]
fn a_project_declares_its_own_format() {
    let shop = shop();
    shop.folder.write(
        "sql/exports/loyalty.toml",
        "encoding = \"csv\"\nchannel = \"email\"\n\
         [[columns]]\nname = \"MAIL\"\nvalue = \"upper(email)\"\n[[columns]]\nname = \"SPENT\"\nvalue = \"amount_spent\"\n",
    );
    insta::assert_snapshot!(printed(&shop, &["everyone", "--format", "loyalty"]), @r#"
    MAIL,SPENT
    ANN@EXAMPLE.COM,10.00
    CID@EXAMPLE.COM,0.00
    "#);
    shop.folder.write(
        "sql/exports/bad.toml",
        "encoding = \"csv\"\nchannel = \"email\"\n[[columns]]\nname = \"X\"\nvalue = \"mail\"\n",
    );
    let ran = shop.run(&["export", "everyone", "--format", "bad", "--to", "-"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("sql/exports/bad.toml"), "{}", ran.stderr);
    told(
        &shop.run(&["export", "everyone", "--format", "emial", "--to", "-"]),
        2,
        &["audience.unknown_format", "`email`"],
    );
}
