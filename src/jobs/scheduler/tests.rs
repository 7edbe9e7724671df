//! Simulated schedulers: years in seconds, several at once, crashes and clocks that jump.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::calendar::parse_date;
use crate::jobs::simulation::{self, Task, World};
use crate::lake::Created;

/// Work that publishes as the commit recipe does: the attempt is taken at the start, and the first to publish under it
/// wins.
struct Shop {
    world: Arc<World>,
    lake: Lake,
    job: String,
    /// Days on which every run fails, and whether that passes.
    faulty: BTreeMap<NaiveDate, bool>,
    /// One of so many runs fails for a passing reason.
    flaky: usize,
    held: Option<NaiveDate>,
    lacking: Mutex<Option<String>>,
    longest: u64,
    ran: Mutex<Vec<NaiveDate>>,
    told: Mutex<Vec<String>>,
    notes: AtomicUsize,
}

impl Shop {
    fn new(world: &Arc<World>, lake: &Lake, job: &str) -> Self {
        Self {
            world: Arc::clone(world),
            lake: lake.clone(),
            job: job.to_owned(),
            faulty: BTreeMap::new(),
            flaky: 0,
            held: None,
            lacking: Mutex::new(None),
            longest: 1_800,
            ran: Mutex::default(),
            told: Mutex::default(),
            notes: AtomicUsize::new(0),
        }
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

fn ended(status: RunStatus, error: Option<&str>, transient: bool) -> Ran {
    Ran { status, error: error.map(str::to_owned), transient, unusual: Vec::new() }
}

#[async_trait(?Send)]
impl Work for Shop {
    fn jobs(&self) -> Result<Vec<Job>> {
        let text = format!("{}\n[[steps]]\nrun = \"snapshot\"", self.job);
        Ok(vec![Job::parse("nightly", "jobs/nightly.toml", &text, Zone::UTC).unwrap()])
    }

    async fn run(&self, _job: &Job, asked: &Asked) -> Ran {
        self.ran.lock().unwrap().push(asked.as_of);
        let folder = format!("published/{}", asked.as_of);
        let published = self.lake.list(&folder).await.unwrap().len();
        if published > 0 {
            return ended(RunStatus::Unchanged, None, false);
        }
        let seconds = self.world.pick(usize::try_from(self.longest).unwrap()) as u64;
        self.world.sleep(Duration::from_secs(seconds)).await;
        if let Some(transient) = self.faulty.get(&asked.as_of) {
            return ended(RunStatus::Failed, Some("land.nothing: nothing is landed"), *transient);
        }
        if self.flaky > 0 && self.world.pick(self.flaky) == 0 {
            return ended(RunStatus::Failed, Some("lake.store: reset"), true);
        }
        if self.held == Some(asked.as_of) {
            return ended(RunStatus::Held, Some("orders are down"), false);
        }
        match self.lake.put_new(&format!("{folder}/{published}"), asked.run_id.clone()).await.unwrap() {
            Created::Ours => ended(RunStatus::Succeeded, None, false),
            Created::Taken => ended(RunStatus::Superseded, Some("another was faster"), false),
        }
    }

    async fn published_by(&self, as_of: NaiveDate, run_id: &str) -> Result<bool> {
        let found = self.lake.find(&format!("published/{as_of}/0")).await?;
        Ok(found.is_some_and(|found| found == run_id.as_bytes()))
    }

    async fn restated(&self, _job: &Job, _as_of: NaiveDate) -> Result<Vec<NaiveDate>> {
        Ok(Vec::new())
    }

    async fn lacking(&self, _job: &Job, _as_of: NaiveDate) -> Result<Option<String>> {
        Ok(self.lacking.lock().unwrap().clone())
    }

    async fn note(&self, _job: &Job, _noted: &Noted<'_>) -> Result<()> {
        self.notes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn tell(&self, _job: Option<&Job>, alert: &Alert) -> bool {
        self.told.lock().unwrap().push(format!("{} {}", alert.event.word(), alert.as_of.unwrap()));
        true
    }
}

const NIGHTLY: &str = "schedule = \"0 4 * * *\"";

/// A scheduler that goes on for ever. Alone it need not look every few seconds: it waits `stretch` times as long.
fn forever<'a>(lake: &'a Lake, shop: &'a Shop, world: &'a World, stretch: u32) -> Task<'a> {
    Box::pin(async move {
        let mut scheduler = Scheduler::new(lake, shop, world, Zone::UTC);
        loop {
            match scheduler.step().await.unwrap() {
                Step::Ran { .. } => {}
                Step::Wait(wait) => world.sleep(wait.max(Duration::from_millis(1)) * stretch).await,
                Step::Standby(wait) => world.sleep(wait.max(Duration::from_millis(1))).await,
            }
        }
    })
}

/// Lets one scheduler run for so long.
fn let_run(lake: &Lake, shop: &Shop, world: &World, time: Duration) {
    let until = world.elapsed() + time;
    world.run(&mut [Some(forever(lake, shop, world, 75))], until, |_| Duration::ZERO);
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

fn state(lake: &Lake) -> JobState {
    finish(JobState::read(lake, "nightly")).unwrap()
}

/// Runs what needs nobody else.
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

fn published(lake: &Lake) -> Vec<(String, usize)> {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for object in finish(lake.list("published")).unwrap() {
        *found.entry(object.path.split('/').nth(1).unwrap().to_owned()).or_default() += 1;
    }
    found.into_iter().collect()
}

fn setup(seed: u64, job: &str) -> (Arc<World>, Lake, Shop) {
    let world = Arc::new(World::new(seed));
    let lake = simulation::lake(&world);
    let shop = Shop::new(&world, &lake, job);
    (world, lake, shop)
}

#[test]
fn a_year_publishes_every_day_once_in_order() {
    let (world, lake, mut shop) = setup(1, NIGHTLY);
    shop.longest = 60;
    // Alone it need look only every few hours.
    let until = world.elapsed() + days(365);
    world.run(&mut [Some(forever(&lake, &shop, &world, 2_000))], until, |_| Duration::ZERO);
    let ran = shop.ran.lock().unwrap().clone();
    let expected: Vec<NaiveDate> = parse_date("2026-01-01").unwrap().iter_days().take(365).collect();
    assert_eq!(ran, expected);
    assert!(published(&lake).iter().all(|(_, times)| *times == 1));
    assert_eq!(shop.told(), Vec::<String>::new());
}

#[test]
fn missed_nights_are_caught_up_and_told_once() {
    for off in [1_u64, 7, 31, 90] {
        let (world, lake, mut shop) = setup(off, NIGHTLY);
        shop.longest = 60;
        let_run(&lake, &shop, &world, days(3));
        world.pass(days(off));
        // Two more starts: what was told is not told again.
        for _ in 0..3 {
            let_run(&lake, &shop, &world, days(2));
        }
        let first = parse_date("2026-01-01").unwrap();
        let last = Zone::UTC.local_date(world.now()) - TimeDelta::days(2);
        let known = state(&lake).known;
        let open: Vec<NaiveDate> =
            first.iter_days().take_while(|day| *day <= last).filter(|day| !known.closed.contains(day)).collect();
        assert!(open.is_empty(), "off for {off} days: {open:?}");
        let skipped = usize::from(off > 31);
        let told: Vec<String> = shop.told().into_iter().filter(|told| told.starts_with("catch_up")).collect();
        assert_eq!((told.len(), shop.told().len()), (skipped, skipped), "off for {off} days: {told:?}");
        assert_eq!(shop.notes.load(Ordering::SeqCst), skipped, "one line for a stretch");
        let ran = shop.ran.lock().unwrap();
        assert!(
            ran.is_sorted() && ran.windows(2).all(|pair| pair[0] < pair[1]),
            "each once, the oldest first: {ran:?}"
        );
    }
}

#[test]
fn passing_faults_are_tried_again_and_others_are_not() {
    let day = |text| parse_date(text).unwrap();
    let (world, lake, mut shop) = setup(3, "schedule = \"0 4 * * *\"\nretries = 2");
    shop.faulty = [(day("2026-01-02"), true), (day("2026-01-04"), false)].into();
    shop.held = Some(day("2026-01-06"));
    let_run(&lake, &shop, &world, days(9));
    let ran = shop.ran.lock().unwrap().clone();
    let times = |text| ran.iter().filter(|ran| **ran == day(text)).count();
    assert_eq!([times("2026-01-01"), times("2026-01-02"), times("2026-01-04"), times("2026-01-06")], [1, 3, 1, 1]);
    assert_eq!(shop.told(), ["run.failed 2026-01-02", "run.failed 2026-01-04", "publish.held 2026-01-06"]);
    let state = state(&lake);
    assert!(state.known.waiting.contains(&day("2026-01-06")), "the nights after a held one go on");
    assert_eq!(published(&lake).len(), 6);
}

/// The scheduler dies before every one of its requests, and another goes on: where a run has failed, and where a run is found
/// whose process is gone and must not be tried again.
#[test]
fn a_failed_run_is_told_of_wherever_its_scheduler_dies() {
    let d = parse_date("2026-01-01").unwrap();
    for found_dead in [false, true] {
        let mut deaths = 0;
        loop {
            let (world, lake, mut shop) = setup(9, "schedule = \"0 4 * * *\"\nretries = 0");
            shop.longest = 1;
            let_run(&lake, &shop, &world, Duration::from_secs(15 * 3_600));
            if found_dead {
                finish(state(&lake).claim(&lake, "nightly", d, "dead", world.now(), Some(0))).unwrap().unwrap();
            } else {
                shop.faulty = [(d, false)].into();
            }
            world.pass(Duration::from_secs(2 * 3_600));
            let (until, mut polls) = (world.elapsed() + Duration::from_secs(120), 0);
            world.run(&mut [Some(forever(&lake, &shop, &world, 1))], until, |_| {
                polls += 1;
                if polls > deaths { days(1) } else { Duration::ZERO }
            });
            let over = !shop.told().is_empty();
            let_run(&lake, &shop, &world, days(1));
            let told = shop.told();
            assert!(told.iter().any(|told| told == "run.failed 2026-01-01"), "dead after {deaths} polls: {told:?}");
            if over {
                break;
            }
            deaths += 1;
        }
        assert!(deaths > 10, "{deaths} moments are not all there are");
    }
}

#[test]
fn a_day_that_is_late_is_told_by_the_clock() {
    // A run that takes a week is begun at 04:00; at 04:50 it is not late yet, at 05:50 it is, though it goes on.
    for (hours, late) in [(16, false), (17, true)] {
        let (world, lake, mut shop) = setup(4, "schedule = \"0 4 * * *\"\nlate_after = \"1h\"");
        shop.longest = u64::MAX >> 33;
        let_run(&lake, &shop, &world, Duration::from_secs(hours * 3_600 + 3_000));
        assert_eq!(shop.ran.lock().unwrap().len(), 1);
        let told = finish(alert::pending(&lake)).unwrap();
        let told: Vec<&str> = told.iter().map(|alert| alert.event.word()).collect();
        assert_eq!(told, if late { vec!["run.late"] } else { vec![] });
    }
}

#[test]
fn a_run_that_takes_too_long_is_given_up() {
    let (world, lake, mut shop) = setup(5, "schedule = \"0 4 * * *\"\ntimeout = \"2h\"\nretries = 1");
    shop.longest = u64::MAX >> 33;
    let_run(&lake, &shop, &world, days(1));
    assert_eq!(shop.ran.lock().unwrap().len(), 2, "once more after the first");
    assert_eq!(shop.told(), ["run.failed 2026-01-01"]);
}

#[test]
fn a_day_waits_for_its_input() {
    let ready = "schedule = \"0 4 * * *\"\n[ready]\nmarker = \"x\"\nwait_until = \"09:00\"";
    for (then, published_days) in [("fail", 0), ("run", 1)] {
        let (world, lake, shop) = setup(6, &format!("{ready}\nthen = \"{then}\""));
        *shop.lacking.lock().unwrap() = Some("`x` is not there".to_owned());
        let_run(&lake, &shop, &world, Duration::from_secs(20 * 3_600 + 3_000));
        assert_eq!((published(&lake).len(), shop.told()), (0, vec!["input.not_ready 2026-01-01".to_owned()]), "08:50");
        let_run(&lake, &shop, &world, Duration::from_secs(3_600));
        assert_eq!(published(&lake).len(), published_days, "{then}");
        assert_eq!(shop.told().len(), 2 - published_days, "{:?}", shop.told());
    }
}

#[test]
fn what_a_crash_leaves_is_settled() {
    // It dies while it runs, and where it has published but not said so.
    for publishes in [false, true] {
        let (world, lake, shop) = setup(7, NIGHTLY);
        let_run(&lake, &shop, &world, Duration::from_secs(15 * 3_600));
        let d = parse_date("2026-01-01").unwrap();
        let mut other = state(&lake);
        let claim = finish(other.claim(&lake, "nightly", d, "dead", world.now(), Some(0))).unwrap().unwrap();
        if publishes {
            finish(lake.put_new("published/2026-01-01/0", claim.run_id)).unwrap();
        }
        let_run(&lake, &shop, &world, days(1));
        let state = state(&lake);
        assert!(state.known.closed.contains(&d));
        assert_eq!(state.days[&d].attempt, if publishes { 1 } else { 2 });
        let told: Vec<String> = if publishes { vec!["run.recovered 2026-01-01".to_owned()] } else { Vec::new() };
        assert_eq!(shop.told(), told);
        assert!(published(&lake).iter().all(|(_, times)| *times == 1));
    }
}

#[test]
fn a_person_s_run_is_left_alone_as_long_as_it_lives() {
    let (world, lake, shop) = setup(8, NIGHTLY);
    let_run(&lake, &shop, &world, Duration::from_secs(15 * 3_600));
    let d = parse_date("2026-01-01").unwrap();
    let mut other = state(&lake);
    let claim = finish(other.claim(&lake, "nightly", d, "mine", world.now(), None)).unwrap().unwrap();
    {
        let beats: Task<'_> = Box::pin(async {
            for _ in 0..((3_600 * 3) / 8) {
                claim.beat(&lake, "nightly", d).await.unwrap();
                world.sleep(BEAT).await;
            }
        });
        let until = world.elapsed() + Duration::from_secs(3_600 * 3);
        world.run(&mut [Some(forever(&lake, &shop, &world, 1)), Some(beats)], until, |_| Duration::ZERO);
    }
    assert_eq!(shop.ran.lock().unwrap().len(), 0, "it is being run");
    let_run(&lake, &shop, &world, Duration::from_secs(1_200));
    assert_eq!(*shop.ran.lock().unwrap(), [d], "it died");
}

/// Two and three schedulers, paused and killed at any moment, with clocks that jump: no day is published twice, none is
/// lost.
fn many_worlds(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let (world, lake, mut shop) = setup(seed, "schedule = \"0 4 * * *\"\nretries = 20");
        shop.flaky = 6;
        let schedulers = 2 + usize::from(seed % 3 == 0);
        let_run(&lake, &shop, &world, Duration::from_secs(600));
        for _ in 0..3 {
            // To shortly before the next tick.
            let four = (world.now().date_naive() + TimeDelta::days(1)).and_hms_opt(3, 50, 0).unwrap().and_utc();
            world.pass((four - world.now()).to_std().unwrap());
            let mut tasks: Vec<Option<Task<'_>>> =
                (0..schedulers).map(|_| Some(forever(&lake, &shop, &world, 1))).collect();
            let until = world.elapsed() + Duration::from_secs(3_600 + world.pick(3_600) as u64);
            world.run(&mut tasks, until, |world| match world.pick(1_000) {
                0 => Duration::from_secs(world.pick(200) as u64),
                1 => {
                    world.jump(TimeDelta::seconds(world.pick(1_200) as i64 - 600));
                    Duration::ZERO
                }
                _ => Duration::ZERO,
            });
            // Tasks that are dropped are processes that were killed.
        }
        let_run(&lake, &shop, &world, days(1));
        let published = published(&lake);
        assert!(published.iter().all(|(_, times)| *times == 1), "seed {seed}: {published:?}");
        let known = state(&lake).known;
        let last = Zone::UTC.local_date(world.now()) - TimeDelta::days(2);
        let first = parse_date("2026-01-01").unwrap();
        for day in first.iter_days().take_while(|day| *day <= last) {
            assert!(known.closed.contains(&day), "seed {seed}: {day} is lost");
            assert!(published.iter().any(|(text, _)| *text == day.to_string()), "seed {seed}: {day} is not published");
        }
    }
}

#[test]
fn several_schedulers_publish_every_day_once() {
    many_worlds(1_000..1_040);
}

/// The long form: `cargo test --lib ten_thousand_worlds -- --ignored`.
#[test]
#[ignore = "the long form of the test above: takes minutes, and is run by hand"]
fn ten_thousand_worlds() {
    many_worlds(0..10_000);
}

/// Work that keeps the only thread there is busy until the leader's heartbeat has changed.
struct Busy(Lake);

#[async_trait(?Send)]
impl Work for Busy {
    fn jobs(&self) -> Result<Vec<Job>> {
        let text = format!("{NIGHTLY}\n[[steps]]\nrun = \"snapshot\"");
        Ok(vec![Job::parse("nightly", "jobs/nightly.toml", &text, Zone::UTC).unwrap()])
    }

    async fn run(&self, _job: &Job, _asked: &Asked) -> Ran {
        let beat = || finish(self.0.find("state/leader/000000000001-beat.json")).unwrap();
        let first = beat();
        // Whatever shared this thread would wait for ever.
        while beat() == first {
            std::thread::yield_now();
        }
        ended(RunStatus::Succeeded, None, false)
    }

    async fn published_by(&self, _as_of: NaiveDate, _run_id: &str) -> Result<bool> {
        Ok(false)
    }

    async fn restated(&self, _job: &Job, _as_of: NaiveDate) -> Result<Vec<NaiveDate>> {
        Ok(Vec::new())
    }

    async fn lacking(&self, _job: &Job, _as_of: NaiveDate) -> Result<Option<String>> {
        Ok(None)
    }

    async fn note(&self, _job: &Job, _noted: &Noted<'_>) -> Result<()> {
        Ok(())
    }

    async fn tell(&self, _job: Option<&Job>, _alert: &Alert) -> bool {
        true
    }
}

#[tokio::test]
async fn a_run_that_keeps_every_thread_busy_does_not_lose_its_lease() {
    let lake = crate::lake::testing::memory();
    let (world, busy) = (World::new(1), Busy(lake.clone()));
    let mut scheduler = Scheduler::new(&lake, &busy, &world, Zone::UTC).beating(lake.clone(), Duration::from_millis(5));
    assert!(matches!(scheduler.step().await.unwrap(), Step::Wait(_)), "the schedule is seen");
    world.pass(days(1));
    let step = scheduler.step().await.unwrap();
    assert!(matches!(step, Step::Ran { status: RunStatus::Succeeded, .. }), "{step:?}");
}
