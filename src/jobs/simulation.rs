//! A world for schedulers in which time is a number and chance has a seed.
//!
//! Several schedulers are polled one at a time, in an order drawn by chance; whatever touches the store gives way first,
//! so that the others come between any two of its operations. When all of them sleep, time goes on to the first that
//! wakes. Processes pause, crash, and their clocks jump.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::time::Time;
use crate::lake::Lake;

/// A world.
#[derive(Debug)]
pub(crate) struct World {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    wall: DateTime<Utc>,
    passed: Duration,
    chance: ChaCha8Rng,
    /// What whoever is polled now waits for, if it only waits for time.
    wakes: Option<Duration>,
    yielded: bool,
}

/// A task's own future.
pub(crate) type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let wall = Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).unwrap();
        let chance = ChaCha8Rng::seed_from_u64(seed);
        Self { inner: Mutex::new(Inner { wall, passed: Duration::ZERO, chance, wakes: None, yielded: false }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time go by.
    pub(crate) fn pass(&self, time: Duration) {
        let mut inner = self.inner();
        inner.passed += time;
        inner.wall += TimeDelta::from_std(time).unwrap();
    }

    /// Moves the machine's clock, and nothing else.
    pub(crate) fn jump(&self, by: TimeDelta) {
        self.inner().wall += by;
    }

    /// A number below `below`.
    pub(crate) fn pick(&self, below: usize) -> usize {
        self.inner().chance.random_range(0..below)
    }

    /// Polls the tasks in an order drawn by chance until `until` of time has passed or all are done. `disturb` is asked
    /// before every poll; what it gives back pauses the task for so long.
    pub(crate) fn run(
        &self,
        tasks: &mut [Option<Task<'_>>],
        until: Duration,
        mut disturb: impl FnMut(&World) -> Duration,
    ) {
        let mut wakes = vec![Duration::ZERO; tasks.len()];
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let passed = self.inner().passed;
            if passed >= until {
                return;
            }
            let awake: Vec<usize> =
                (0..tasks.len()).filter(|task| tasks[*task].is_some() && wakes[*task] <= passed).collect();
            if awake.is_empty() {
                let Some(next) = (0..tasks.len()).filter(|task| tasks[*task].is_some()).map(|task| wakes[task]).min()
                else {
                    return;
                };
                self.pass(next - passed);
                continue;
            }
            let chosen = awake[self.pick(awake.len())];
            let pause = disturb(self);
            if pause > Duration::ZERO {
                wakes[chosen] = passed + pause;
                continue;
            }
            {
                let mut inner = self.inner();
                (inner.wakes, inner.yielded) = (None, false);
            }
            let task = tasks[chosen].as_mut().unwrap();
            match task.as_mut().poll(&mut context) {
                Poll::Ready(()) => tasks[chosen] = None,
                Poll::Pending => {
                    let inner = self.inner();
                    if !inner.yielded
                        && let Some(target) = inner.wakes
                    {
                        wakes[chosen] = target;
                    }
                }
            }
        }
    }

    fn give_way(&self) -> GiveWay<'_> {
        GiveWay { world: self, gave: false }
    }
}

struct GiveWay<'a> {
    world: &'a World,
    gave: bool,
}

impl Future for GiveWay<'_> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.gave {
            return Poll::Ready(());
        }
        self.gave = true;
        self.world.inner().yielded = true;
        // The world polls whom it likes; what waits for several at once polls only those that were woken.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

struct Sleep<'a> {
    world: &'a World,
    target: Duration,
}

impl Future for Sleep<'_> {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.world.inner();
        if inner.passed >= self.target {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        inner.wakes = Some(inner.wakes.map_or(self.target, |other| other.min(self.target)));
        Poll::Pending
    }
}

#[async_trait]
impl Time for World {
    fn now(&self) -> DateTime<Utc> {
        self.inner().wall
    }

    fn elapsed(&self) -> Duration {
        self.inner().passed
    }

    fn chance(&self) -> f64 {
        self.inner().chance.random()
    }

    async fn sleep(&self, duration: Duration) {
        let target = self.elapsed() + duration;
        Sleep { world: self, target }.await;
    }
}

/// A store in memory that gives way before whatever it does.
#[derive(Debug)]
pub(crate) struct Shared {
    world: Arc<World>,
    inner: InMemory,
}

/// A lake in this world.
pub(crate) fn lake(world: &Arc<World>) -> Lake {
    let store = Shared { world: Arc::clone(world), inner: InMemory::new() };
    Lake::over(&url::Url::parse("memory:///simulated/").unwrap(), Arc::new(store)).unwrap()
}

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

#[async_trait]
impl ObjectStore for Shared {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.world.give_way().await;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.world.give_way().await;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
