//! The definition hash: two days whose hashes agree answered the same question.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::Segment;

pub(super) fn all(segments: &[Segment], environment: &str) -> BTreeMap<String, String> {
    let by_id: BTreeMap<&str, &Segment> =
        segments.iter().map(|segment| (segment.definition.id.as_str(), segment)).collect();
    let mut done: BTreeMap<String, String> = BTreeMap::new();
    // Circles were refused, so each round finishes at least one.
    while done.len() < by_id.len() {
        let ready: Vec<&Segment> = by_id
            .values()
            .filter(|segment| !done.contains_key(&segment.definition.id))
            .filter(|segment| {
                segment.rule.references().iter().all(|id| done.contains_key(*id) || !by_id.contains_key(id))
            })
            .copied()
            .collect();
        if ready.is_empty() {
            break;
        }
        for segment in ready {
            let hash = one(segment, &done, environment);
            done.insert(segment.definition.id.clone(), hash);
        }
    }
    done
}

fn one(segment: &Segment, others: &BTreeMap<String, String>, environment: &str) -> String {
    let mut digest = Sha256::new();
    // Every part goes in behind its length, so that no two lists of parts read the same.
    let mut add = |part: &str| {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    };
    add("segment 1");
    add(&segment.definition.query.canonical());
    match &segment.definition.store {
        Some(store) => {
            add("store");
            add(store);
        }
        None => add("any store"),
    }
    for id in segment.rule.references() {
        add(id);
        add(others.get(id).map_or("", String::as_str));
    }
    // The queries that compute what it tests.
    let computed: BTreeMap<&str, &str> = segment
        .rule
        .tests()
        .into_iter()
        .filter_map(|test| Some((test.attribute.name.as_str(), test.attribute.definition.as_deref()?)))
        .collect();
    for (name, definition) in computed {
        add(name);
        add(definition);
    }
    add(environment);
    hex::encode(digest.finalize())
}
