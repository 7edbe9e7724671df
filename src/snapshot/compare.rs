//! The segments of a day beside those of the latest published day before it.

use std::sync::Arc;

use chrono::NaiveDate;
use datafusion::prelude::SessionContext;
use roaring::RoaringBitmap;

use super::before;
use super::changes::{self, Before, Change, Edit, Gone};
use super::label;
use super::people::People;
use super::rows::{self, Size};
use super::segments::{Computed, ComputedSegment, Described, Prepared};
use super::setup::Project;
use super::writing::Writing;
use crate::calendar::add_days;
use crate::error::Result;
use crate::lake::manifest::Manifest;
use crate::lake::snapshots::{PublishedDay, Snapshots};

/// What the segments of a day came to beside the day before.
pub(super) struct Compared {
    pub(super) definitions: Vec<rows::Definition>,
    pub(super) changes: Vec<Change>,
    /// Each with the day that it is compared with; none on a segment's first day.
    pub(super) sizes: Vec<(Size, Option<NaiveDate>)>,
}

impl Compared {
    /// Writes the segment tables of the day.
    pub(super) async fn write(
        &self,
        writing: &mut Writing<'_>,
        computed: &Computed,
        people: &Arc<People>,
        previous: Option<NaiveDate>,
    ) -> Result<u64> {
        let mut written = writing.write("segments", rows::definitions(&self.definitions)?).await?;
        let sets: Vec<_> = computed.segments.iter().map(|segment| (segment.id.as_str(), &segment.members)).collect();
        written += writing.write("segment_overlap", rows::overlaps(&sets)?).await?;
        let members = computed.segments.iter().map(|segment| (segment.id.clone(), segment.members.clone())).collect();
        written += writing.write("segment_members", rows::members(members, Arc::clone(people))).await?;
        written += writing.write("segment_changes", rows::changes(&self.changes, previous)?).await?;
        written += writing.write("segment_sizes", rows::sizes(&self.sizes)?).await?;
        Ok(written)
    }
}

/// A day's segments, and what they are compared with.
pub(super) struct Comparison<'a> {
    pub(super) project: &'a Project,
    pub(super) session: &'a SessionContext,
    pub(super) snapshots: &'a Snapshots,
    pub(super) before: Option<&'a (PublishedDay, Manifest)>,
    pub(super) prepared: &'a Prepared,
    pub(super) people: &'a People,
    pub(super) as_of: NaiveDate,
}

impl Comparison<'_> {
    /// Compares every segment with the day before.
    pub(super) async fn of(&self, computed: &Computed) -> Result<Compared> {
        let Self { project, session, people, .. } = *self;
        let mut known = std::collections::BTreeMap::new();
        let mut members = std::collections::BTreeMap::new();
        let mut gone = Gone::default();
        let (nobody_at_all, mut relabelled) = (RoaringBitmap::new(), RoaringBitmap::new());
        if let Some((_, manifest)) = self.before {
            known = before::definitions(project, session, manifest).await?;
            members = before::members(project, session, manifest, people).await?;
            relabelled = label::relabelled(session, people).await?;
            if members.values().any(|before| !before.gone.is_empty()) {
                gone.merged = before::merged_since_the_day_before(session, people).await?;
                gone.excluded = before::excluded(session).await?;
            }
        }
        let previous = self.before.map(|(day, _)| day.as_of);
        let nobody = Before::default();
        let rules = self.prepared.segments.rules();
        let mut compared = Compared { definitions: Vec::new(), changes: Vec::new(), sizes: Vec::new() };
        let sets: Vec<&RoaringBitmap> = computed.segments.iter().map(|segment| &segment.members).collect();
        let spent = people.spent(&sets, rows::threads());
        for (segment, spent) in computed.segments.iter().zip(spent) {
            let definition = self.prepared.definition(&segment.id)?;
            let row = definition.row();
            let old = known.get(&segment.id);
            let mut own = Vec::new();
            if let Some(old) = old {
                let edit = if old.hash == definition.hash {
                    Edit::None
                } else if old.query == definition.query && old.store == row.store {
                    Edit::Settings
                } else {
                    Edit::Definition
                };
                let was = members.get(&segment.id).unwrap_or(&nobody);
                let by_stage = rules.get(&segment.id).is_some_and(|rule| label::names_stage(rule, &rules));
                let relabelled = if by_stage { &relabelled } else { &nobody_at_all };
                own = changes::changes(&segment.id, &segment.members, was, edit, &gone, relabelled, people);
            }
            let mut size = Size::of(&segment.id, &segment.members, spent, &own, people);
            size.goal = self.goal(segment, definition).await?;
            let defined_on =
                old.filter(|old| old.hash == definition.hash).and_then(|old| old.defined_on).unwrap_or(self.as_of);
            compared.definitions.push(rows::Definition { defined_on, ..row });
            compared.sizes.push((size, previous.filter(|_| old.is_some())));
            compared.changes.append(&mut own);
        }
        for id in known.keys().filter(|id| !computed.segments.iter().any(|segment| segment.id == **id)) {
            compared.changes.extend(changes::deactivated(id, members.get(id).unwrap_or(&nobody), people));
        }
        compared.changes.sort();
        Ok(compared)
    }

    /// Members `goal_days` before the day, and those of them who satisfy the goal now; none without a goal, or where
    /// that day is not published.
    async fn goal(&self, segment: &ComputedSegment, definition: &Described) -> Result<Option<(u64, u64)>> {
        let Some(goal) = &segment.goal else { return Ok(None) };
        let then = add_days(self.as_of, -definition.goal_days).and_then(|day| self.snapshots.day(day));
        let Some(day) = then else { return Ok(None) };
        let manifest = Box::pin(self.snapshots.manifest(day)).await?;
        let was = before::members_of(self.project, self.session, &manifest, &segment.id, self.people).await?;
        let merged = before::merged_since(self.project, self.session, &was.gone, self.people).await?;
        let base = was.members.len() + was.gone.len() as u64;
        let reached = merged.values().filter(|number| goal.contains(**number)).count() as u64;
        Ok(Some((base, was.members.intersection_len(goal) + reached)))
    }
}
