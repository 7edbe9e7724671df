//! Personal data: everything that is held about a person, and forgetting it.
//!
//! Forgetting goes by keyed hashes (`lake::forgotten`). `people` finds every identity of those who are asked for; `plan` finds
//! every file that holds one of them; the record of the pass, with the hashes and the receipt, is written before anything is
//! changed; `pass` then writes files anew without those rows. From the record on a pass needs nothing but the hashes, so
//! one that died is finished by running it again, and whoever is landed again is found by the same hashes.
//!
//! Readers see a published day as it was or as it is then: new files, then the Delta tables, then one commit of `snapshots`
//! names new manifests of all days; only after it the old files go. A night that was computed meanwhile is refused
//! (`Snapshots::without`), or was published before that commit and is found by the next look.

/// Everything that is held about one person.
pub mod everything;
/// Files written anew without some of their rows.
mod files;
/// Which rows of the published tables are whose.
mod matcher;
/// A pass: from the plan to the last old file.
mod pass;
/// Every identity of a person.
pub mod people;
/// What holds people who were forgotten.
mod plan;
/// What a pass did, without personal data.
pub mod receipt;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::lake::forgotten::Forgotten;
use crate::snapshot::setup::Project;

pub use pass::keep_out;
pub use people::{Asked, Identities};
pub use receipt::{Counts, LandedPart, Receipt};

/// How often a pass looks whether something is left: nights may publish meanwhile.
const ROUNDS: usize = 5;

/// What came of asking to forget.
#[derive(Debug)]
pub struct Told {
    /// What was erased, or would be; none where nothing is left.
    pub receipt: Option<Receipt>,
    /// Landed files outside the lake that hold people who were forgotten.
    pub elsewhere: Vec<LandedPart>,
    /// Of the people asked for, how many nothing is held about, and nobody was forgotten as.
    pub unknown: u64,
    /// Of the people asked for, how many were forgotten before.
    pub before: u64,
    /// Addresses that so many customers have that they name nobody.
    pub shared: u64,
}

/// Finishes passes that died, and says how many.
///
/// # Errors
/// Those of [`forget`].
pub async fn resume(project: &Project, at: DateTime<Utc>) -> Result<u64> {
    let died = receipt::unfinished(&project.lake).await?.len() as u64;
    if died > 0 {
        Box::pin(forget(project, &Asked::default(), false, at)).await?;
    }
    Ok(died)
}

/// Forgets people, or with `dry_run` says what that would erase. Asked again, it finishes what died and takes what was landed
/// since.
///
/// # Errors
/// Landed files that cannot be read; what the store and the logs refuse. What is done stays done, and asking again goes on
/// from there.
pub async fn forget(project: &Project, asked: &Asked, dry_run: bool, at: DateTime<Utc>) -> Result<Told> {
    let found =
        if asked.is_empty() { people::Found::default() } else { Box::pin(people::find(project, asked, at)).await? };
    let known = &project.forgotten;
    let fresh: Vec<_> = found.identities.marks(known).into_iter().filter(|(_, mark)| !known.has(mark)).collect();
    let mut forgotten = Forgotten::clone(known);
    fresh.iter().for_each(|(_, mark)| forgotten.add(*mark));
    let forgotten = Arc::new(forgotten);
    let mut told = Told {
        receipt: None,
        elsewhere: Vec::new(),
        unknown: found.unknown,
        before: found.before,
        shared: found.shared,
    };
    if forgotten.is_empty() {
        return Ok(told);
    }
    let clear = plan::Clear::of(&found.identities);
    let unfinished = receipt::unfinished(&project.lake).await?;
    let plan = Box::pin(plan::plan(project, &forgotten, &unfinished, &clear, at)).await?;
    told.elsewhere = plan.elsewhere.iter().map(plan::Landed::told).collect();
    if plan.is_empty() && fresh.is_empty() && unfinished.is_empty() {
        return Ok(told);
    }
    let mut receipt = Receipt::new(at, &found, &fresh, &plan);
    receipt.resumed = unfinished.iter().map(|receipt| receipt.id.clone()).collect();
    Box::pin(plan.tell_exports(project, &mut receipt)).await?;
    if dry_run {
        told.receipt = Some(receipt);
        return Ok(told);
    }
    // From here on, whatever happens, the hashes say whom to erase.
    receipt.keep(&project.lake, fresh.iter().map(|(_, mark)| *mark)).await?;
    let mut open = unfinished;
    open.push(receipt.clone());
    let mut next = Some(plan);
    for _ in 0..ROUNDS {
        let plan = match next.take() {
            Some(plan) => plan,
            None => Box::pin(plan::plan(project, &forgotten, &open, &plan::Clear::default(), at)).await?,
        };
        if plan.is_empty() {
            for receipt in &open {
                receipt.finish(&project.lake, at).await?;
            }
            receipt.finished_at = Some(at);
            told.receipt = Some(receipt);
            return Ok(told);
        }
        match Box::pin(pass::apply(project, &forgotten, &open, plan, at)).await {
            Err(error) if error.code() == "lake.moved" => {}
            other => other?,
        }
    }
    Err(Error::new(
        crate::error::Kind::Transient,
        "forget.moved",
        "others publish or land all the time, and something is left of the people who are to be forgotten",
    )
    .with_hint("run `alluvial forget` again with the same people when no job runs: it goes on from here"))
}
