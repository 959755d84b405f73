//! Which of the eight masks makes a code easiest to scan: the penalties of ISO/IEC 18004, section 7.8.3, on bit rows.
//!
//! The encoder's own choice looks at one module at a time and takes nearly all the time of an export of many nodes;
//! this looks at 64.

use qrcode::Color;
use qrcode::canvas::{Canvas, MaskPattern};
use zeroize::Zeroizing;

const PATTERNS: [MaskPattern; 8] = [
    MaskPattern::Checkerboard,
    MaskPattern::HorizontalLines,
    MaskPattern::VerticalLines,
    MaskPattern::DiagonalLines,
    MaskPattern::LargeCheckerboard,
    MaskPattern::Fields,
    MaskPattern::Diamonds,
    MaskPattern::Meadow,
];

/// Returns the modules of a code, row by row, `true` for dark, under the mask with the least penalty.
pub(super) fn best(canvas: &Canvas, width: usize) -> Zeroizing<Vec<bool>> {
    let masked = PATTERNS.into_iter().map(|pattern| {
        let mut masked = canvas.clone();
        masked.apply_mask(pattern);
        let modules: Zeroizing<Vec<bool>> =
            Zeroizing::new(masked.into_colors().into_iter().map(|c| c == Color::Dark).collect());
        (penalty(&modules, width), modules)
    });
    masked.min_by_key(|(penalty, _)| *penalty).map(|(_, modules)| modules).unwrap_or_default()
}

/// 192 modules in a line: enough for the 177 of the largest code. Bits beyond the code's width are 0.
#[derive(Clone, Copy, Default)]
struct Line([u64; 3]);

impl Line {
    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
    fn and(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }
    /// Bits where both lines are the same.
    fn same(self, other: Self) -> Self {
        self.zip(other, |a, b| !(a ^ b))
    }
    fn not(self) -> Self {
        Self(self.0.map(|word| !word))
    }
    /// Moves bit `n` to bit `n - by`; `by` is 1 to 63.
    fn down(self, by: u32) -> Self {
        let [a, b, c] = self.0;
        Self([a >> by | b << (64 - by), b >> by | c << (64 - by), c >> by])
    }
    fn ones(self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
    /// The lowest `n` bits set.
    fn first(n: usize) -> Self {
        Self(std::array::from_fn(|i| match n.saturating_sub(i * 64) {
            0 => 0,
            n @ 1..=63 => (1 << n) - 1,
            _ => u64::MAX,
        }))
    }
    fn set(&mut self, bit: usize) {
        self.0[bit / 64] |= 1 << (bit % 64);
    }
}

fn penalty(modules: &[bool], width: usize) -> u32 {
    let mut rows = vec![Line::default(); width];
    let mut columns = rows.clone();
    for (index, _) in modules.iter().enumerate().filter(|(_, dark)| **dark) {
        let (y, x) = (index / width, index % width);
        rows[y].set(x);
        columns[x].set(y);
    }
    let lines: u32 = rows.iter().chain(&columns).map(|line| runs(*line, width) + finders(*line, width)).sum();
    lines + blocks(&rows, width) + imbalance(&rows, width)
}

/// Runs of five or more of one colour: 3, and 1 for each module more.
fn runs(line: Line, width: usize) -> u32 {
    let pairs = line.same(line.down(1)).and(Line::first(width - 1));
    let fours = pairs.and(pairs.down(1));
    // Bit n: the five modules from n on are the same. A run of five has one such bit, each further module one more.
    let fives = fours.and(fours.down(2));
    let ends = fives.and(fives.down(1).not());
    fives.ones() + 2 * ends.ones()
}

/// What looks like a finder pattern with four light modules beside it: 40.
fn finders(line: Line, width: usize) -> u32 {
    const LENGTH: u32 = 11;
    let light = line.not();
    let at = |n: u32, dark: bool| match (n, dark) {
        (0, true) => line,
        (0, false) => light,
        (_, true) => line.down(n),
        (_, false) => light.down(n),
    };
    let count = |pattern: u32| {
        let matches = (0..LENGTH).map(|n| at(n, pattern >> n & 1 == 1));
        matches.fold(Line::first(width - LENGTH as usize + 1), Line::and).ones()
    };
    40 * (count(0b000_0101_1101) + count(0b101_1101_0000))
}

/// Blocks of two by two of one colour: 3.
fn blocks(rows: &[Line], width: usize) -> u32 {
    let across = |line: Line| line.same(line.down(1));
    let block = |(upper, lower): (Line, Line)| {
        across(upper).and(across(lower)).and(upper.same(lower)).and(Line::first(width - 1)).ones()
    };
    3 * rows.windows(2).map(|pair| block((pair[0], pair[1]))).sum::<u32>()
}

/// The share of dark modules: 10 for each 5 % away from half.
fn imbalance(rows: &[Line], width: usize) -> u32 {
    let dark: u32 = rows.iter().map(|line| line.ones()).sum();
    let all = (width * width) as u32;
    (dark * 20).abs_diff(all * 10) / all * 10
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same penalties, module by module.
    fn plainly(modules: &[bool], width: usize) -> u32 {
        let dark = |x: usize, y: usize| modules[y * width + x];
        let mut sum = 0;
        for swapped in [false, true] {
            for y in 0..width {
                let line: Vec<bool> =
                    (0..width).map(|x| if swapped { dark(y, x) } else { dark(x, y) }).collect();
                sum += line
                    .chunk_by(|a, b| a == b)
                    .filter(|run| run.len() > 4)
                    .map(|run| run.len() as u32 - 2)
                    .sum::<u32>();
                let finder = |w: &&[bool]| {
                    let text: String = w.iter().map(|d| if *d { '1' } else { '0' }).collect();
                    text == "10111010000" || text == "00001011101"
                };
                sum += 40 * line.windows(11).filter(finder).count() as u32;
            }
        }
        for y in 1..width {
            for x in 1..width {
                let block = [dark(x, y), dark(x - 1, y), dark(x, y - 1), dark(x - 1, y - 1)];
                sum += 3 * u32::from(block.iter().all(|d| *d == block[0]));
            }
        }
        let share = modules.iter().filter(|d| **d).count() as f64 / (width * width) as f64;
        sum + 10 * ((share * 100.0 - 50.0).abs() / 5.0 + 1e-9) as u32
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn bits_count_as_modules_do(version in 0..40usize, weight in 1..10u8, seed in any::<u64>()) {
            let width = 21 + 4 * version;
            let mut state = seed | 1;
            let modules: Vec<bool> = (0..width * width).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) % 10 < u64::from(weight)
            }).collect();
            prop_assert_eq!(penalty(&modules, width), plainly(&modules, width));
        }
    }

    #[test]
    fn finder_patterns_are_seen() {
        let mut modules = vec![false; 21 * 21];
        for x in [4, 6, 7, 8, 10] {
            modules[5 * 21 + x] = true;
        }
        assert_eq!(penalty(&modules, 21), plainly(&modules, 21));
        let row = Line([0b101_1101_0000, 0, 0]);
        assert_eq!(finders(row, 21), 80, "light on both sides");
        assert_eq!(finders(row, 11), 40);
    }
}
