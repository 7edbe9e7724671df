//! Segments that refer to each other: circles, and chains that are too long.

use std::collections::{BTreeMap, BTreeSet};

use super::{Definition, Fault};
use crate::diagnostic::Diagnostic;

/// Segments that may stand behind each other; each is a layer of the night's one statement.
const MAX_CHAIN: usize = 32;

/// Circles, each told once, and chains longer than the limit.
pub(super) fn faults(all: &[Definition]) -> Vec<Fault> {
    let by_id: BTreeMap<&str, &Definition> =
        all.iter().map(|definition| (definition.id.as_str(), definition)).collect();
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = all
        .iter()
        .map(|definition| {
            let references = definition.query.references();
            let known = references.into_iter().map(|(id, _)| id).filter(|id| by_id.contains_key(id)).collect();
            (definition.id.as_str(), known)
        })
        .collect();
    let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    while !waiting.is_empty() {
        let ready: Vec<&str> = waiting
            .iter()
            .filter(|(_, references)| references.iter().all(|id| !waiting.contains_key(id)))
            .map(|(id, _)| *id)
            .collect();
        if ready.is_empty() {
            let circle = circle(&waiting);
            faults.extend(told(&circle, &by_id));
            for id in circle {
                waiting.remove(id);
            }
            continue;
        }
        for id in ready {
            let references = waiting.remove(id).unwrap_or_default();
            let depth = references.iter().filter_map(|other| depths.get(other)).max().map_or(0, |deepest| deepest + 1);
            depths.insert(id, depth);
            if depth == MAX_CHAIN + 1
                && let Some(definition) = by_id.get(id)
            {
                let span = definition.query.references().into_iter().next().map_or(0..0, |(_, span)| span);
                let message = format!("more than {MAX_CHAIN} segments stand behind each other");
                let found = Diagnostic::error("segment.too_deep", span, message);
                faults.push(Fault::new(
                    definition,
                    found.with_hint("repeat a part of the query instead of referring to it"),
                ));
            }
        }
    }
    faults
}

/// A circle among segments that all wait for another: from the first by id, always on to the first that it waits for.
fn circle<'a>(waiting: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<&'a str> {
    let mut path: Vec<&str> = Vec::new();
    let mut next = waiting.keys().next().copied();
    while let Some(id) = next {
        if let Some(start) = path.iter().position(|earlier| *earlier == id) {
            return path.split_off(start);
        }
        path.push(id);
        next = waiting.get(id).and_then(|references| references.iter().find(|id| waiting.contains_key(*id))).copied();
    }
    path
}

fn told(circle: &[&str], by_id: &BTreeMap<&str, &Definition>) -> Option<Fault> {
    let first = circle.iter().min()?;
    let start = circle.iter().position(|id| id == first)?;
    let mut path: Vec<&str> = circle.iter().cycle().skip(start).take(circle.len()).copied().collect();
    let second = path.get(1).copied().unwrap_or(first);
    path.push(first);
    let definition = by_id.get(first)?;
    let span = definition.query.references().into_iter().find(|(id, _)| *id == second).map_or(0..0, |(_, span)| span);
    let message = format!("segments refer to each other in a circle: {}", path.join(" → "));
    let found = Diagnostic::error("segment.cycle", span, message);
    Some(Fault::new(definition, found.with_hint("repeat a part of one query instead of referring to it")))
}
