use super::*;
use crate::segments::{SAMPLES, shop};

fn check(files: &[(&str, &str)]) -> std::result::Result<Segments, Vec<Fault>> {
    let files = files.iter().map(|(name, text)| (format!("sql/segments/{name}"), (*text).to_owned()));
    Definitions::from_files(files).check(&shop::catalogue(), shop::as_of())
}

fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let faults = check(files).err().unwrap_or_default();
    faults
        .iter()
        .filter(|fault| fault.is_error())
        .map(|fault| fault.to_error())
        .map(|e| format!("{} {e}", e.code()))
        .collect()
}

fn sound(query: &str) -> String {
    format!("name = \"{query}\"\ndescription = \"d\"\nquery = \"{query}\"\n")
}

#[test]
fn the_samples_are_sound_and_warn_of_nothing() {
    let files: Vec<(&str, &str)> = SAMPLES.to_vec();
    let segments = check(&files).unwrap_or_else(|faults| panic!("{}", faults[0].render(false)));
    assert!(segments.warnings().is_empty(), "{}", segments.warnings()[0].render(false));
    assert_eq!(segments.iter().count(), SAMPLES.len());
    assert!(SAMPLES.len() >= 10 && SAMPLES.is_sorted());
    for segment in segments.iter() {
        let told = &segment.definition;
        assert!(told.description.is_some() && told.owner.is_some() && !told.tags.is_empty() && told.priority.is_some());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/segments");
    let in_folder = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(in_folder, SAMPLES.len(), "every file of sql/segments/ is a sample");
    assert_eq!(Definitions::load(&folder).unwrap().iter().count(), SAMPLES.len());
}

#[test]
fn every_fault_of_every_file_is_told_at_its_place() {
    let told = faults(&[
        ("Bad Name.toml", &sound("number_of_orders > 1")),
        (
            "a.toml",
            "name = \"A\"\nquery = '''\nnumber_of_orders > 1\n  AND amuont_spent > 5\n  AND (country = DK\n'''\n",
        ),
        (
            "b.toml",
            "nmae = \"B\"\nquery = \"number_of_orders \\u003e 1pm\"\ngoal = 'country'\npriority = 0\ntags = [1]\nactive = 'no'\nguard = \"stop\"\n",
        ),
        ("c.toml", "name = \"C\"\nquery = 5\nstore = ' '\n"),
        ("d.toml", "name = "),
        ("e-x.toml", &sound("country = 'DK'")),
        ("e_x.toml", &sound("country = 'SE'")),
        ("f.toml", "name = \" \"\nquery = \"segment('e-y')\"\n"),
    ]);
    let expected = [
        "segment.bad_id sql/segments/Bad Name.toml:1:1: the file's name `Bad Name` cannot be a segment's id",
        "segment.unknown_attribute sql/segments/a.toml:4:7: there is no attribute `amuont_spent`",
        "segment.unclosed_parenthesis sql/segments/a.toml:5:7: this parenthesis is not closed",
        "segment.unquoted_text sql/segments/a.toml:5:18: the text `DK` has no quotes",
        "segment.missing_key sql/segments/b.toml:1:1: the segment has no name",
        "segment.unknown_key sql/segments/b.toml:1:1: there is no `nmae` in a segment",
        "segment.time_alone sql/segments/b.toml:2:34: `1pm` is a time without a day",
        "segment.unknown_operator sql/segments/b.toml:3:16: the query ends where a comparison of `country` should be",
        "segment.wrong_value sql/segments/b.toml:4:12: `priority` is not a whole number from 1 to 1000000",
        "segment.wrong_value sql/segments/b.toml:5:9: `tags` is not a list of texts: `[\"a\", \"b\"]`",
        "segment.wrong_value sql/segments/b.toml:6:10: `active` is not `true` or `false`",
        "segment.wrong_value sql/segments/b.toml:7:9: `guard` is not `\"warn\"`, `\"hold\"` or `\"off\"`",
        "segment.wrong_value sql/segments/c.toml:2:9: `query` is not a text in quotes",
        "segment.wrong_value sql/segments/c.toml:3:9: the store is blank",
    ];
    assert_eq!(&told[..expected.len()], expected, "{told:#?}");
    assert!(told[expected.len()].starts_with("segment.toml sql/segments/d.toml:1:"), "{told:#?}");
    let rest: Vec<&str> = told[expected.len() + 1..].iter().map(|told| told.split(": ").next().unwrap()).collect();
    assert_eq!(
        rest,
        [
            "segment.same_id sql/segments/e_x.toml:1:1",
            "segment.missing_key sql/segments/f.toml:1:8",
            "segment.unknown_segment sql/segments/f.toml:2:18",
        ]
    );
}

#[test]
fn what_is_no_segment_in_the_folder_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["danes.toml", "swedes.sql", "norse.TOML", "README.md", ".hidden.sql"] {
        std::fs::write(folder.path().join(name), sound("country = 'DK'")).unwrap();
    }
    std::fs::create_dir(folder.path().join("older")).unwrap();
    let definitions = Definitions::load(folder.path()).unwrap();
    assert_eq!(definitions.unread(), ["sql/segments/norse.TOML", "sql/segments/older", "sql/segments/swedes.sql"]);
    assert_eq!(definitions.iter().map(|definition| definition.id.as_str()).collect::<Vec<_>>(), ["danes"]);
}

#[test]
fn circles_are_printed_once_each() {
    let query = |ids: &[&str]| {
        let all: Vec<String> = ids.iter().map(|id| format!("segment('{id}')")).collect();
        sound(&all.join(" AND "))
    };
    let told = faults(&[
        ("a.toml", &query(&["c"])),
        ("b.toml", &query(&["a", "x"])),
        ("c.toml", &query(&["b"])),
        ("self.toml", &query(&["self"])),
        ("x.toml", &sound("country = 'DK'")),
        ("behind.toml", &query(&["a"])),
    ]);
    assert_eq!(
        told,
        [
            "segment.cycle sql/segments/a.toml:3:18: segments refer to each other in a circle: a → c → b → a",
            "segment.cycle sql/segments/self.toml:3:18: segments refer to each other in a circle: self → self",
        ]
    );
}

#[test]
fn chains_have_a_limit() {
    let files = |length: usize| -> Vec<(String, String)> {
        let mut files = vec![("s0.toml".to_owned(), sound("country = 'DK'"))];
        files.extend((1..=length).map(|at| (format!("s{at}.toml"), sound(&format!("segment('s{}')", at - 1)))));
        files
    };
    let told = |length| {
        let files = files(length);
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        faults(&files)
    };
    assert!(told(32).is_empty());
    let beyond = told(40);
    assert_eq!(beyond.len(), 1);
    assert!(beyond[0].starts_with("segment.too_deep sql/segments/s33.toml:3:18:"), "{beyond:?}");
}

#[test]
fn one_that_is_switched_off_is_kept_apart_and_not_referred_to() {
    let off = "name = \"Off\"\nquery = \"no_longer_landed = 1\"\nactive = false\n";
    let segments = check(&[("off.toml", off), ("on.toml", &sound("country = 'DK'"))]).unwrap();
    assert_eq!((segments.iter().count(), segments.inactive().len()), (1, 1));
    assert_eq!(segments.get("off").unwrap_err().code(), "segment.inactive_segment");
    assert_eq!(segments.get("one").unwrap_err().hint(), Some("did you mean `on`?"));
    let told = faults(&[("off.toml", off), ("on.toml", &sound("NOT segment('off')"))]);
    assert!(told[0].starts_with("segment.inactive_segment"), "{told:?}");
}

#[test]
fn names_and_descriptions_are_looked_at() {
    let text = "name = \"One\"\nquery = \"number_of_orders = 0 AND last_order_date >= -30d\"\n";
    let segments = check(&[("a.toml", text), ("b.toml", text)]).unwrap();
    let codes: Vec<&str> = segments.warnings().iter().map(|fault| fault.diagnostic.code).collect();
    assert_eq!(
        codes,
        [
            "segment.no_description",
            "segment.never_holds",
            "segment.no_description",
            "segment.same_name",
            "segment.never_holds"
        ]
    );
}

#[test]
fn the_store_is_part_of_the_rule() {
    let text = format!("{}store = \"d'k\"\n", sound("number_of_orders > 1 OR country = 'DK'"));
    let segments = check(&[("a.toml", &text)]).unwrap();
    let sql = segments.sql("a", shop::scope("UTC", "2026-11-19"), &Tables::default()).unwrap();
    assert!(sql.contains("WHERE (p.number_of_orders > 1 OR p.country = 'DK') AND p.store = 'd''k'"), "{sql}");
}

#[test]
fn hashes_follow_what_the_answer_depends_on() {
    let hashes = |files: &[(&str, &str)], environment: &str| check(files).unwrap().definition_hashes(environment);
    let base = [("a.toml", sound("country = 'DK'")), ("b.toml", sound("segment('a')"))];
    let base: Vec<(&str, &str)> = base.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let before = hashes(&base, "x");
    assert_eq!(before["a"].len(), 64);
    assert_ne!(before["a"], before["b"]);
    let spaced = "name = \"Other\"\nquery = \"( country='DK' ) -- same\"\n";
    assert_eq!(hashes(&[("a.toml", spaced), base[1]], "x"), before, "spelling and name are no part of it");
    assert_ne!(hashes(&base, "y")["a"], before["a"], "settings are");
    let other = sound("country = 'SE'");
    let after = hashes(&[("a.toml", &other), base[1]], "x");
    assert!(after["a"] != before["a"] && after["b"] != before["b"], "what it refers to is");
    let stored = format!("{}store = 'dk'\n", base[0].1);
    assert_ne!(hashes(&[("a.toml", &stored), base[1]], "x")["a"], before["a"], "the store is");
}

#[test]
fn a_folder_is_read_with_all_its_faults() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Definitions::load(&folder.path().join("none")).unwrap().iter().count(), 0);
    std::fs::write(folder.path().join("b.toml"), sound("country = 'DK'")).unwrap();
    std::fs::write(folder.path().join("a.toml"), sound("country = ")).unwrap();
    std::fs::write(
        folder.path().join("c.toml"),
        [b"name = \"".as_slice(), &[0xff], b"\"\nquery = \"vip = true\""].concat(),
    )
    .unwrap();
    std::fs::write(folder.path().join(".hidden.toml"), "x").unwrap();
    std::fs::write(folder.path().join("README.md"), "x").unwrap();
    let definitions = Definitions::load(folder.path()).unwrap();
    assert_eq!(definitions.iter().map(|definition| definition.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    let codes: Vec<&str> = definitions.faults().iter().map(|fault| fault.diagnostic.code).collect();
    assert_eq!(codes, ["segment.expected_value", "segment.not_utf8"]);
    assert!(definitions.check(&shop::catalogue(), shop::as_of()).is_err());
}

#[test]
fn a_query_without_a_file_may_refer_to_files() {
    let segments = check(&[("a.toml", &sound("country = 'DK'"))]).unwrap();
    let (rule, found) = segments.check_query("segment('a') AND vip = true", &shop::catalogue(), shop::as_of());
    assert!(found.is_empty(), "{found:?}");
    let scope = shop::scope("UTC", "2026-11-19");
    assert!(compile::standalone_sql(&rule.unwrap(), &segments.rules(), scope, &Tables::default()).is_ok());
    let (rule, found) = segments.check_query("segment('b') AND", &shop::catalogue(), shop::as_of());
    assert!(rule.is_none());
    assert_eq!(
        found.iter().map(|found| found.code).collect::<Vec<_>>(),
        ["segment.unknown_segment", "segment.expected_clause"]
    );
}
