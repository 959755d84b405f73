//! Samples of the same work by two programs, and how they compare.

use std::time::Duration;

/// Which way a number is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Times, memory.
    Less,
    /// Throughput.
    More,
}

/// What several rounds gave, one sample a round.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    samples: Vec<f64>,
}

impl Measured {
    /// Adds a sample.
    pub fn add(&mut self, sample: f64) {
        self.samples.push(sample);
    }

    /// Adds a time; such samples are seconds.
    pub fn add_time(&mut self, time: Duration) {
        self.add(time.as_secs_f64());
    }

    /// Returns the rounds.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.samples.len()
    }

    /// Returns the median; of an even number of samples, the mean of the middle two.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    /// Returns the least and the largest.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        let fold = |f: fn(f64, f64) -> f64| self.samples.iter().copied().reduce(f).unwrap_or(f64::NAN);
        (fold(f64::min), fold(f64::max))
    }

    /// Says how many times better than the other this is: above 1 is better.
    #[must_use]
    pub fn times_better_than(&self, other: &Self, better: Better) -> f64 {
        match better {
            Better::Less => other.median() / self.median(),
            Better::More => self.median() / other.median(),
        }
    }

    /// Returns the median as a time: samples in seconds.
    #[must_use]
    pub fn time(&self) -> String {
        let seconds = self.median();
        match seconds {
            s if s.is_nan() => "-".to_owned(),
            s if s >= 10.0 => format!("{s:.1} s"),
            s if s >= 1.0 => format!("{s:.2} s"),
            s if s >= 0.01 => format!("{:.0} ms", s * 1e3),
            s => format!("{:.1} ms", s * 1e3),
        }
    }
}

/// Measures two sides in turns, each round in the other order, so that what the machine does meanwhile meets both.
pub fn in_turns<T>(
    rounds: usize,
    mut one: impl FnMut() -> T,
    mut other: impl FnMut() -> T,
    mut each: impl FnMut(T, T),
) {
    for round in 0..rounds {
        if round % 2 == 0 {
            let first = one();
            each(first, other());
        } else {
            let second = other();
            each(one(), second);
        }
    }
}
