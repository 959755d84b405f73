//! Hosts, a store and all that goes wrong between them, in virtual time: never do two hosts have their fence open, and when all is
//! well again one of them has.

use std::time::Duration;

use proptest::prelude::*;

use super::{Answer, Holder, LEASE, Lease, Next, Seen};

const STEP: u64 = 10;

/// What goes wrong, each time with a chance out of 1000.
#[derive(Debug, Clone)]
struct Weather {
    seed: u64,
    /// A message is lost.
    lost: u64,
    /// A process is stopped, or a host cut off, for up to 12 s.
    stopped: u64,
    cut_off: u64,
    /// The longest that a message takes, in milliseconds.
    slow: u64,
    /// Each host's clock: how it runs, in thousandths, and what it began with, in seconds.
    clocks: Vec<(u64, u64)>,
    drains: bool,
}

fn weather() -> impl Strategy<Value = Weather> {
    let clocks = prop::collection::vec((940u64..1060, 0u64..100_000), 2..5);
    (any::<u64>(), 0u64..300, 0u64..8, 0u64..8, 1u64..2_500, clocks, any::<bool>()).prop_map(
        |(seed, lost, stopped, cut_off, slow, clocks, drains)| Weather {
            seed: seed | 1,
            lost,
            stopped,
            cut_off,
            slow,
            clocks,
            drains,
        },
    )
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n.max(1)
    }
}

#[derive(Clone)]
enum Asked {
    Read,
    Write(i64, Lease),
}

/// A question on its way: when it is done at the store, when the answer is back, and what that is.
struct Way {
    asked: Asked,
    began: Duration,
    done_at: Option<u64>,
    back_at: Option<u64>,
    answer: Option<Result<Seen, Answer>>,
    gives_up_at: u64,
}

struct Host {
    holder: Holder,
    rate: u64,
    start: Duration,
    stopped_until: u64,
    cut_off_until: u64,
    way: Option<Way>,
    /// By its own clock, which no stopped process keeps from going on.
    fence: Duration,
}

impl Host {
    fn clock(&self, real: u64) -> Duration {
        self.start + Duration::from_micros(real * self.rate)
    }
    fn is_open(&self, real: u64) -> bool {
        self.clock(real) < self.fence
    }
}

struct World {
    dice: Dice,
    hosts: Vec<Host>,
    revision: i64,
    written: i64,
    lease: Option<Lease>,
    drained: Option<usize>,
    takes: usize,
}

impl World {
    fn new(weather: &Weather) -> Self {
        let host = |(n, (rate, start)): (usize, &(u64, u64))| Host {
            holder: Holder::new(format!("h{n}").parse().unwrap(), "boot".into()),
            rate: *rate,
            start: Duration::from_secs(*start),
            stopped_until: 0,
            cut_off_until: 0,
            way: None,
            fence: Duration::ZERO,
        };
        let hosts = weather.clocks.iter().enumerate().map(host).collect();
        Self {
            dice: Dice(weather.seed),
            hosts,
            revision: 1,
            written: 0,
            lease: None,
            drained: None,
            takes: 0,
        }
    }

    fn at_the_store(&mut self, n: usize) -> Result<Seen, Answer> {
        self.revision += 1;
        let asked = self.hosts[n].way.as_ref().unwrap().asked.clone();
        match asked {
            Asked::Read => Ok(Seen {
                revision: self.written,
                lease: self.lease.clone(),
                drains: self.drained == Some(n),
                other_is_ready: true,
            }),
            Asked::Write(over, _) if over != self.written => Err(Answer::Refused),
            Asked::Write(_, lease) => {
                self.takes += usize::from(self.lease.as_ref().is_none_or(|old| old.term != lease.term));
                (self.written, self.lease) = (self.revision, Some(lease));
                Err(Answer::Written(self.written))
            }
        }
    }

    fn step(&mut self, weather: &Weather, real: u64, is_fair: bool) {
        for n in 0..self.hosts.len() {
            if !is_fair && self.dice.below(1000) < weather.stopped {
                self.hosts[n].stopped_until = real + self.dice.below(12_000);
            }
            if !is_fair && self.dice.below(1000) < weather.cut_off {
                self.hosts[n].cut_off_until = real + self.dice.below(12_000);
            }
            // The store does what has come to it, whether or not who asked is awake.
            let cut_off = !is_fair && real < self.hosts[n].cut_off_until;
            if self.hosts[n].way.as_ref().is_some_and(|way| way.done_at.is_some_and(|at| at <= real))
                && !cut_off
            {
                let answer = self.at_the_store(n);
                let way = self.hosts[n].way.as_mut().unwrap();
                (way.done_at, way.answer) = (None, Some(answer));
            }
            if is_fair || real >= self.hosts[n].stopped_until {
                self.awake(weather, n, real, is_fair);
            }
        }
    }

    fn awake(&mut self, weather: &Weather, n: usize, real: u64, is_fair: bool) {
        let at = self.hosts[n].clock(real);
        if let Some(way) = &self.hosts[n].way {
            let is_back = way.answer.is_some() && way.back_at.is_some_and(|back| back <= real);
            if !is_back && real < way.gives_up_at {
                return;
            }
            let host = &mut self.hosts[n];
            let way = host.way.take().unwrap();
            match (way.asked, way.answer.filter(|_| is_back)) {
                (Asked::Read, Some(Ok(seen))) => host.holder.saw(seen, at),
                (Asked::Write(_, lease), Some(Err(answer))) => {
                    host.holder.wrote(&lease, answer, way.began, at);
                    if let Some(until) =
                        host.holder.until(at).filter(|_| matches!(answer, Answer::Written(_)))
                    {
                        host.fence = until;
                    }
                }
                (Asked::Write(_, lease), _) => host.holder.wrote(&lease, Answer::Unknown, way.began, at),
                _ => host.holder.unanswered(at),
            }
        }
        let next = self.hosts[n].holder.next(at, 1_000);
        if self.hosts[n].holder.until(at).is_none() {
            self.hosts[n].fence = Duration::ZERO;
        }
        let asked = match next {
            Next::Wait(_) => return,
            Next::Ask => Asked::Read,
            Next::Write(over, lease) => Asked::Write(over, lease),
        };
        let slow = if is_fair { 20 } else { weather.slow };
        let lost = if is_fair { 0 } else { weather.lost };
        let (there, back) = (self.dice.below(slow), self.dice.below(slow));
        let done_at = (self.dice.below(1000) >= lost).then_some(real + there);
        let back_at = (self.dice.below(1000) >= lost).then_some(real + there + back + STEP);
        self.hosts[n].way =
            Some(Way { asked, began: at, done_at, back_at, answer: None, gives_up_at: real + 1_500 });
    }

    fn open(&self, real: u64) -> Vec<usize> {
        (0..self.hosts.len()).filter(|n| self.hosts[*n].is_open(real)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn two_fences_are_never_open_and_one_is_when_all_is_well(weather in weather()) {
        let mut world = World::new(&weather);
        let end = 60_000;
        for real in (0..end).step_by(usize::try_from(STEP).unwrap()) {
            if weather.drains && real % 9_000 == 0 {
                world.drained = Some(usize::try_from(world.dice.below(4)).unwrap());
            }
            world.step(&weather, real, false);
            let open = world.open(real);
            prop_assert!(open.len() < 2, "at {real} ms: {open:?}, {:?}", world.lease);
        }
        // All is well: within two leases somebody has it, and keeps it.
        world.drained = None;
        let settled = end + 3 * u64::try_from(LEASE.as_millis()).unwrap();
        for real in (end..settled + 10_000).step_by(usize::try_from(STEP).unwrap()) {
            world.step(&weather, real, true);
            let open = world.open(real);
            prop_assert!(open.len() < 2, "at {real} ms: {open:?}");
            prop_assert!(real < settled || open.len() == 1, "at {real} ms nobody has it: {:?}", world.lease);
            if real == settled {
                world.takes = 0;
            }
        }
        prop_assert_eq!(world.takes, 0, "it went from one to another for nothing");
    }
}
