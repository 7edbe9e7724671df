//! The promises of the segment language on thousands of changed queries: what `tests/fuzz/run` looks for with coverage
//! and for longer, here with fixed seeds. A finding of the fuzzer belongs into the corpus, whose queries these start from.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../fuzz/mutate.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets' own library exports it")]
mod mutate;
#[path = "../fuzz/promises.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets' own library exports it")]
mod promises;

/// The queries of the corpus, and their trees as JSON.
fn seeds() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/segments");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut seeds: Vec<String> = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for case in text.split("### query\n").skip(1) {
            let mut sections = case.split("\n--- ");
            seeds.extend(sections.next().map(|query| query.trim_end().to_owned()));
            seeds.extend(
                sections.filter_map(|section| section.strip_prefix("tree\n")).map(|tree| tree.trim().to_owned()),
            );
        }
    }
    seeds
}

fn keeps(promise: fn(&str), inputs: usize) {
    let seeds = seeds();
    assert!(seeds.len() > 200, "the corpus has shrunk to {} queries", seeds.len());
    let tokens = mutate::Tokens::read();
    let mut random = mutate::Random(inputs as u64);
    let unchanged = seeds.iter().cloned();
    let changed = (0..inputs).map(|_| {
        let (one, other) = (&seeds[random.below(seeds.len())], &seeds[random.below(seeds.len())]);
        mutate::mutated(one, other, &tokens, &mut random)
    });
    for text in unchanged.chain(changed) {
        if catch_unwind(AssertUnwindSafe(|| promise(&text))).is_err() {
            panic!("the promise is broken for {text:?}");
        }
    }
}

#[test]
fn any_text_is_read_without_a_panic() {
    keeps(promises::parse, 5_000);
}

#[test]
fn the_canonical_and_the_json_form_read_as_the_same_query() {
    keeps(promises::round_trip, 5_000);
}

#[test]
fn whatever_passes_the_check_becomes_sql() {
    keeps(promises::compile, 3_000);
}
