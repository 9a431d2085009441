//! The real machine's cores, by what Linux tells of them.
//!
//! Owns how often it is asked, and what "in use" means. Where there is no /proc/stat, nothing is known.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ports::{Clock, Cores};

/// Linux is not asked more often; the answer is of the time since.
const APART: Duration = Duration::from_secs(1);

/// What was seen longer ago says nothing of now.
const STALE: Duration = Duration::from_secs(10);

/// Where control groups lie (version 2).
const GROUPS: &str = "/sys/fs/cgroup";

/// This machine, as far as this process may use it.
pub struct Machine {
    clock: Arc<dyn Clock>,
    /// Cores that this process may use, by its affinity and the quota of its control group.
    allowed: f64,
    last: Mutex<Last>,
}

struct Last {
    at: Duration,
    ticks: Option<Ticks>,
    in_use: Option<f64>,
}

/// Time that has passed on the cores, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    /// Of all cores together.
    all: u64,
    /// Of that, with nothing to do.
    idle: u64,
    cores: u64,
    /// Of this process.
    own: u64,
}

impl Machine {
    /// What is asked of it is asked from now on.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let last = Last { at: clock.monotonic(), ticks: Ticks::now(), in_use: None };
        Self { clock, allowed: allowed(), last: Mutex::new(last) }
    }

    /// Whether the system tells how busy its cores are; a service may have to do without most of /proc.
    pub fn is_known() -> bool {
        Ticks::now().is_some()
    }
}

impl Cores for Machine {
    fn in_use(&self) -> Option<f64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        let passed = now.saturating_sub(last.at);
        if passed >= APART {
            let ticks = Ticks::now();
            let before = last.ticks.filter(|_| passed <= STALE);
            let in_use =
                before.zip(ticks).and_then(|(before, ticks)| ticks.in_use_since(&before, self.allowed));
            *last = Last { at: now, ticks, in_use };
        }
        last.in_use
    }
}

impl Ticks {
    fn now() -> Option<Self> {
        let read = |path| fs::read_to_string(path).ok();
        Self::of(&read("/proc/stat")?, &read("/proc/self/stat")?)
    }

    /// Out of proc_stat(5) and proc_pid_stat(5).
    fn of(machine: &str, process: &str) -> Option<Self> {
        let numbers = machine.lines().next()?.strip_prefix("cpu ")?;
        // Guests' time, which comes after these eight, is counted in the first two.
        let all: Vec<u64> = numbers.split_whitespace().take(8).map_while(|text| text.parse().ok()).collect();
        let (idle, waits) = (all.get(3)?, all.get(4).unwrap_or(&0));
        let is_core = |line: &&str| {
            line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        // A program's name may hold anything, also `)`: fields are counted from its end.
        let mut fields = process.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut next = || fields.next()?.parse::<u64>().ok();
        Some(Self {
            all: all.iter().sum(),
            idle: idle + waits,
            cores: machine.lines().filter(is_core).count().try_into().ok()?,
            own: next()? + next()?,
        })
    }

    /// How much was in use since `before`. A process that may use `allowed` cores, of more, has no idle one left
    /// when it has used up those.
    fn in_use_since(&self, before: &Self, allowed: f64) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)? as f64;
        let idle = self.idle.saturating_sub(before.idle) as f64;
        let own = self.own.saturating_sub(before.own) as f64;
        let of_machine = 1.0 - idle / all;
        let of_allowed = own * self.cores as f64 / (all * allowed);
        Some(of_machine.max(of_allowed).clamp(0.0, 1.0))
    }
}

/// How many cores this process may use at once, by its affinity and by the whole cores of its quotas.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// How many cores' time this process may use.
fn allowed() -> f64 {
    let whole = cores() as f64;
    quota().map_or(whole, |quota| quota.min(whole)).max(0.01)
}

/// The least quota of the control group that this process is in, and of those around it.
fn quota() -> Option<f64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let folders = Path::new(GROUPS).join(group.trim_start_matches('/'));
    let folders = folders.ancestors().take_while(|folder| folder.starts_with(GROUPS)).map(PathBuf::from);
    let quotas = folders.filter_map(|folder| quota_of(&fs::read_to_string(folder.join("cpu.max")).ok()?));
    quotas.min_by(f64::total_cmp)
}

/// Out of `cpu.max`: time that may be used, or `max`, and the period in which.
fn quota_of(text: &str) -> Option<f64> {
    let (time, period) = text.trim().split_once(' ')?;
    let (time, period) = (time.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (time > 0.0 && period > 0.0).then(|| time / period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::timestamp::Timestamp;
    use crate::testing::{ManualClock, World};

    const STAT: &str = "cpu  100 10 40 1000 50 3 2 5 90 0\ncpu0 1 1 1 1 1 1 1 1 1 0\n\
                        cpu1 1 1 1 1 1 1 1 1 1 0\nintr 12 0\nctxt 5\n";
    const SELF: &str = "42 (a) (b) S 1 42 42 0 -1 4194560 2 0 0 0 30 12 0 0 20 0 5 0 100 1 1";

    #[test]
    fn what_linux_writes_is_understood() {
        let ticks = Ticks::of(STAT, SELF).unwrap();
        assert_eq!(ticks, Ticks { all: 1210, idle: 1050, cores: 2, own: 42 });
        assert_eq!(Ticks::of("", SELF), None);
        assert_eq!(Ticks::of(STAT, "42 (a"), None);
        assert_eq!(quota_of("150000 100000\n"), Some(1.5));
        assert_eq!(quota_of("max 100000\n"), None);
        assert_eq!(quota_of(""), None);
    }

    #[test]
    fn cores_are_in_use_when_none_is_idle_or_the_quota_is_used_up() {
        let before = Ticks { all: 10_000, idle: 5_000, cores: 4, own: 100 };
        let after = |idle: u64, own: u64| Ticks { all: 10_400, idle: 5_000 + idle, cores: 4, own: 100 + own };
        let of = |ticks: Ticks, allowed| ticks.in_use_since(&before, allowed).unwrap();
        assert!((of(after(400, 0), 4.0) - 0.0).abs() < 1e-9);
        assert!((of(after(100, 0), 4.0) - 0.75).abs() < 1e-9, "others use them");
        assert!((of(after(350, 50), 4.0) - 0.125).abs() < 1e-9);
        assert!((of(after(350, 50), 0.5) - 1.0).abs() < 1e-9, "half a core is all that it may use");
        assert!((of(after(300, 100), 2.0) - 0.5).abs() < 1e-9);
        assert!((of(after(500, 0), 4.0) - 0.0).abs() < 1e-9, "ticks are not exact");
        assert_eq!(before.in_use_since(&before, 4.0), None, "no time has passed");
    }

    #[test]
    fn it_is_asked_a_second_apart_and_forgets_what_is_long_ago() {
        let world = World::new(Timestamp::from_seconds(0));
        let machine = Machine::new(Arc::new(ManualClock::new(Arc::clone(&world), 0)));
        let seen_at = || machine.last.lock().unwrap().at;
        let began = seen_at();
        assert_eq!(machine.in_use(), None);
        world.advance(APART - Duration::from_millis(1));
        assert_eq!(machine.in_use(), None);
        assert_eq!(seen_at(), began);
        world.advance(STALE);
        assert_eq!(machine.in_use(), None, "too long ago");
        assert!(seen_at() > began);
    }

    /// On a machine with /proc, whatever it does.
    #[test]
    fn the_real_machine_answers_with_a_share() {
        let Some(before) = Ticks::now() else { return };
        assert!(before.cores > 0 && before.all > before.idle && allowed() > 0.0);
        let mut later = before;
        (later.all, later.own) = (before.all + 100, before.own + 1);
        assert_eq!(later.in_use_since(&before, allowed()), Some(1.0));
    }
}
