//! Upkeep as a whole: the tables (`snapshot::upkeep`), and the objects of the state that have had their time.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::Deserialize;

use super::{alert, record, state};
use crate::erase;
use crate::error::Result;
use crate::lake::{Lake, Object};
use crate::snapshot::setup::Project;
use crate::snapshot::{held, upkeep};

/// For how many days what is settled stays in the state: as long as runs can be told of.
const SETTLED_DAYS: i64 = 400;
/// What may go by its age alone, and after how many days.
const AGED: [(&str, i64); 4] =
    [("state/probe", 1), (alert::SENT, 90), (record::RUNS, SETTLED_DAYS), (held::FOLDER, SETTLED_DAYS)];

/// Where links to audiences are kept: `<id>.json`, and its uses below `<id>/`.
pub const LINKS: &str = "state/links";
/// For how many days whoever follows a link is told that it has expired.
const EXPIRED_DAYS: i64 = 30;

/// All that upkeep asks of a link.
#[derive(Deserialize)]
struct Expiring {
    expires_at: DateTime<Utc>,
}

/// Does what is to be done, as of the instant `at`.
///
/// # Errors
/// What the store and the logs refuse; what was done until then stays done.
pub async fn run(project: &Project, at: DateTime<Utc>) -> Result<upkeep::Done> {
    // What died while it erased people comes first: old files of theirs are swept below.
    let resumed = Box::pin(erase::resume(project, at)).await?;
    let mut done = Box::pin(upkeep::run(project, at)).await?;
    if resumed > 0 {
        done.warnings.push(format!("{resumed} passes of `alluvial forget` had died, and are finished now"));
    }
    done.state = sweep(&project.lake, at).await? + sweep_links(&project.lake, at).await?;
    Ok(done)
}

/// Removes what has had its time from the state, and says how many objects went. A held day that waits keeps its record.
async fn sweep(lake: &Lake, at: DateTime<Utc>) -> Result<u64> {
    let waiting: BTreeSet<String> = held::waiting(lake).await?.into_iter().map(|held| held.run_id).collect();
    let mut removed = 0;
    for (folder, days) in AGED {
        let oldest = at - TimeDelta::days(days);
        for object in lake.list(folder).await? {
            if object.modified < oldest && !waiting.iter().any(|run| object.path.contains(run.as_str())) {
                lake.delete(&object.path).await?;
                removed += 1;
            }
        }
    }
    // A day of a job may go once every day up to it is closed as a whole: it is not owed again then.
    let oldest = at - TimeDelta::days(SETTLED_DAYS);
    let mut closed: BTreeMap<String, NaiveDate> = BTreeMap::new();
    let objects = lake.list(state::JOBS).await?;
    for (job, day) in objects.iter().filter(|object| object.modified < oldest).filter_map(job_and_day) {
        let newest = closed.entry(job.to_owned()).or_insert(day);
        *newest = day.max(*newest);
    }
    for (job, last) in &closed {
        state::close_through(lake, job, *last, at).await?;
    }
    for object in &objects {
        if job_and_day(object).is_some_and(|(job, day)| closed.get(job).is_some_and(|last| day <= *last)) {
            lake.delete(&object.path).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Removes links that expired long ago with their uses, and uses of links that are gone.
async fn sweep_links(lake: &Lake, at: DateTime<Utc>) -> Result<u64> {
    let oldest = at - TimeDelta::days(EXPIRED_DAYS);
    let objects = lake.list(LINKS).await?;
    let id_of = |object: &Object| {
        let rest = object.path.strip_prefix(LINKS)?.strip_prefix('/')?;
        Some(rest.split(['/', '.']).next()?.to_owned())
    };
    let (links, uses): (Vec<_>, Vec<_>) = objects.iter().partition(|object| object.path.ends_with(".json"));
    let (mut kept, mut removed) = (BTreeSet::new(), 0);
    for link in links {
        let body = lake.find(&link.path).await?.unwrap_or_default();
        // One that cannot be read is left to whoever lists them.
        let expired = serde_json::from_slice::<Expiring>(&body).is_ok_and(|link| link.expires_at < oldest);
        if expired {
            lake.delete(&link.path).await?;
            removed += 1;
        } else {
            kept.extend(id_of(link));
        }
    }
    for used in uses {
        if id_of(used).is_some_and(|id| !kept.contains(&id)) {
            lake.delete(&used.path).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Of which job and day an object is: `state/jobs/<job>/days/<day>/…`.
fn job_and_day(object: &Object) -> Option<(&str, NaiveDate)> {
    let (job, rest) = object.path.strip_prefix(state::JOBS)?.strip_prefix('/')?.split_once("/days/")?;
    let day = rest.split('/').next()?.parse().ok()?;
    Some((job, day))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::parse_date;
    use crate::jobs::report::RunStatus;
    use crate::jobs::state::{End, JobState, Mark, nonce};
    use crate::lake::testing;

    #[tokio::test]
    async fn old_days_go_once_they_are_closed_and_are_not_owed_again() {
        let lake = testing::memory();
        let now = crate::calendar::Clock::System.now();
        let mut days = Vec::new();
        for text in ["2025-01-01", "2025-01-03"] {
            let day = parse_date(text).unwrap();
            let mut state = JobState::read(&lake, "nightly").await.unwrap();
            let claim = state.claim(&lake, "nightly", day, "r", now, Some(1)).await.unwrap().unwrap();
            let end = End {
                nonce: nonce(),
                run_id: "r".to_owned(),
                status: RunStatus::Succeeded,
                at: now,
                error: None,
                not_before: None,
            };
            assert!(claim.end(&lake, "nightly", day, Mark::Final, &end).await.unwrap());
            days.push(day);
        }
        lake.put_new("state/runs/r.json", "{}").await.unwrap();
        assert_eq!(sweep(&lake, now + TimeDelta::days(399)).await.unwrap(), 0);
        assert_eq!(sweep(&lake, now + TimeDelta::days(401)).await.unwrap(), 5, "two claims, two ends and a run");
        let state = JobState::read(&lake, "nightly").await.unwrap();
        assert_eq!((state.known.through, state.days.len()), (days.last().copied(), 0));
        assert_eq!(sweep(&lake, now + TimeDelta::days(402)).await.unwrap(), 0, "nothing is left to do");
    }
    #[tokio::test]
    async fn links_go_a_month_after_they_expired_with_their_uses() {
        let lake = testing::memory();
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        for (id, expires) in [("aa", "2026-03-01T00:00:00Z"), ("bb", "2026-04-20T00:00:00Z")] {
            lake.put(&format!("{LINKS}/{id}.json"), format!("{{\"expires_at\": \"{expires}\"}}")).await.unwrap();
            lake.put(&format!("{LINKS}/{id}/000001"), "used").await.unwrap();
        }
        lake.put(&format!("{LINKS}/cc.json"), "{").await.unwrap();
        lake.put(&format!("{LINKS}/dd/000001"), "of one that was revoked").await.unwrap();
        let left = async || -> Vec<String> {
            let objects = lake.list(LINKS).await.unwrap();
            objects.into_iter().map(|object| object.path[LINKS.len() + 1..].to_owned()).collect()
        };
        assert_eq!(sweep_links(&lake, at("2026-03-20T00:00:00Z")).await.unwrap(), 1, "the use of no link");
        assert_eq!(left().await, ["aa.json", "aa/000001", "bb.json", "bb/000001", "cc.json"]);
        assert_eq!(sweep_links(&lake, at("2026-04-01T00:00:00Z")).await.unwrap(), 2);
        assert_eq!(left().await, ["bb.json", "bb/000001", "cc.json"]);
        assert_eq!(sweep_links(&lake, at("2026-06-01T00:00:00Z")).await.unwrap(), 2);
        assert_eq!(left().await, ["cc.json"]);
    }
}
