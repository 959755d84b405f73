//! Where boxes and lines of a diagram are: relays in a row, everybody else in a grid below them, and lines that run between boxes
//! alone, so that none crosses a box that it does not lead to, however many there are.

use std::collections::BTreeMap;

use super::{Blocked, Diagram, Item};

/// A box, in pixels.
pub(super) const WIDTH: f64 = 156.0;
pub(super) const LINE: f64 = 16.0;
pub(super) const PADDING: f64 = 10.0;
/// Between two boxes.
const GAP: f64 = 28.0;
/// Between two lines that run beside each other.
const LANE: f64 = 6.0;
/// Up to how many lines of blocked pairs are drawn beside those to the relay, as more cannot be told apart.
const LANES: usize = 40;
/// How much wider than high a picture should be.
const SHAPE: f64 = 1.4;

/// A box's place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub x: f64,
    pub y: f64,
    pub height: f64,
}

impl Rect {
    pub(super) fn middle(&self) -> f64 {
        self.x + WIDTH / 2.0
    }

    fn right(&self) -> f64 {
        self.x + WIDTH
    }

    fn bottom(&self) -> f64 {
        self.y + self.height
    }
}

/// A line from point to point, each straight across or down.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path {
    pub points: Vec<(f64, f64)>,
    /// What of a pair is blocked; `None`: a way that there is.
    pub blocked: Option<Blocked>,
}

/// A picture without its texts, from 0, 0 on.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Layout {
    /// In the order of the diagram's items.
    pub boxes: Vec<Rect>,
    pub paths: Vec<Path>,
    pub width: f64,
    pub height: f64,
}

pub(super) fn height(item: &Item) -> f64 {
    (1 + item.lines.len() + item.sites.len() + item.blocked.len()) as f64 * LINE + PADDING
}

/// Places a diagram.
pub(super) fn layout(diagram: &Diagram) -> Layout {
    let relays = diagram.items.iter().filter(|item| item.is_relay).count();
    let spokes = diagram.items.len() - relays;
    let tall = diagram.items[..relays].iter().map(height).fold(0.0, f64::max);
    let lanes = Lanes::of(diagram, relays);
    let columns = columns(&diagram.items[relays..], tall);
    let mut out = Layout::default();

    // Right of each column of boxes run the lines of its blocked pairs; left of it the one to the relay.
    let in_column = |column: usize| {
        lanes.ends.iter().filter(|box_| column_of(**box_, relays, columns) == Some(column)).count()
    };
    let mut lefts = Vec::new();
    let mut x = 0.0;
    for column in 0..columns {
        lefts.push(x + GAP);
        let beside = in_column(column);
        x += GAP + WIDTH + if beside > 0 { GAP / 2.0 + beside as f64 * LANE } else { 0.0 };
    }
    let step = WIDTH + 2.0 * GAP;
    let of_relays = relays as f64 * step - 2.0 * GAP;
    out.width = x.max(of_relays);
    let (shift, first) = ((out.width - x) / 2.0, (out.width - of_relays) / 2.0);
    for (n, item) in diagram.items[..relays].iter().enumerate() {
        let height = height(item);
        out.boxes.push(Rect { x: first + n as f64 * step, y: (tall - height) / 2.0, height });
    }
    let corridor = tall + GAP / 2.0;
    let bus = corridor + lanes.across as f64 * LANE + GAP / 2.0;
    let mut y = if relays == 0 && lanes.across == 0 { 0.0 } else { bus + GAP / 2.0 };
    for row in diagram.items[relays..].chunks(columns.max(1)) {
        let tallest = row.iter().map(height).fold(0.0, f64::max);
        for (column, item) in row.iter().enumerate() {
            let height = height(item);
            out.boxes.push(Rect { x: lefts[column] + shift, y: y + (tallest - height) / 2.0, height });
        }
        y += tallest + GAP;
    }
    let bottom = if spokes == 0 { tall } else { y - GAP };
    out.height = if spokes == 0 && lanes.across > 0 { bus } else { bottom };
    if relays > 0 {
        let paths = ways(&out.boxes, relays, columns, bus, &lanes);
        out.paths.extend(paths);
    }
    let paths = detours(&out.boxes, relays, columns, corridor, &lanes);
    out.paths.extend(paths);
    out
}

/// How many boxes stand in a row, so that the picture is somewhat wider than high.
fn columns(items: &[Item], above: f64) -> usize {
    let tallest = items.iter().map(height).fold(0.0, f64::max);
    let shape = |columns: usize| {
        let high = items.len().div_ceil(columns) as f64 * (tallest + GAP) + above + 2.0 * GAP;
        columns as f64 * (WIDTH + GAP) / high
    };
    (1..=items.len()).find(|c| shape(*c) >= SHAPE).unwrap_or(items.len())
}

fn column_of(item: usize, relays: usize, columns: usize) -> Option<usize> {
    item.checked_sub(relays).map(|spoke| spoke % columns)
}

/// Whether a pair is one of a box and what it hangs on, whose line there is anyway.
pub(super) fn hangs(from: usize, to: usize, relays: usize) -> bool {
    if to < relays { to == from + 1 } else { from == 0 && relays > 0 }
}

/// Whether blocked pairs have too many lines of their own to be drawn: some of many would look like all of them.
pub(super) fn are_too_many(blocked: &BTreeMap<(usize, usize), Blocked>, relays: usize) -> bool {
    blocked.keys().filter(|(a, b)| !hangs(*a, *b, relays)).count() > LANES
}

/// The pairs that are drawn, those between a box and what it hangs on as its own line.
struct Lanes {
    /// By the box further from the relay.
    own: BTreeMap<usize, Blocked>,
    pairs: Vec<((usize, usize), Blocked)>,
    /// The box at each end of a pair; both ends in one column share a lane.
    ends: Vec<usize>,
    /// How many run from one column to another.
    across: usize,
}

impl Lanes {
    fn of(diagram: &Diagram, relays: usize) -> Self {
        let (own, mut pairs): (Vec<_>, Vec<_>) = diagram
            .blocked
            .iter()
            .map(|(pair, blocked)| (*pair, *blocked))
            .partition(|((a, b), _)| hangs(*a, *b, relays));
        // The boxes say it in words.
        if are_too_many(&diagram.blocked, relays) {
            pairs.clear();
        }
        let ends = pairs.iter().flat_map(|((a, b), _)| [*a, *b]).collect();
        Self {
            own: own.into_iter().map(|((_, b), blocked)| (b, blocked)).collect(),
            across: pairs.len(),
            pairs,
            ends,
        }
    }
}

/// The lines to the relay: one from it, one along all columns, one down each of them, and one to each box.
fn ways(boxes: &[Rect], relays: usize, columns: usize, bus: f64, lanes: &Lanes) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut draw = |points: Vec<(f64, f64)>, blocked: Option<Blocked>| paths.push(Path { points, blocked });
    for (n, pair) in boxes[..relays].windows(2).enumerate() {
        let y = pair[0].y + pair[0].height / 2.0;
        draw(vec![(pair[0].right(), y), (pair[1].x, y)], lanes.own.get(&(n + 1)).copied());
    }
    let spokes = &boxes[relays..];
    let Some(hub) = boxes.first().filter(|_| !spokes.is_empty()) else { return paths };
    let down = |rect: &Rect| rect.x - GAP / 2.0;
    let firsts: Vec<f64> = spokes.iter().take(columns).map(down).chain([hub.middle()]).collect();
    let (left, right) =
        (firsts.iter().copied().fold(f64::MAX, f64::min), firsts.iter().copied().fold(0.0, f64::max));
    draw(vec![(hub.middle(), hub.bottom()), (hub.middle(), bus)], None);
    draw(vec![(left, bus), (right, bus)], None);
    for column in 0..columns {
        if let Some(last) = spokes.iter().skip(column).step_by(columns).next_back() {
            draw(vec![(down(last), bus), (down(last), last.y + last.height / 2.0)], None);
        }
    }
    for (n, rect) in spokes.iter().enumerate() {
        let y = rect.y + rect.height / 2.0;
        draw(vec![(down(rect), y), (rect.x, y)], lanes.own.get(&(relays + n)).copied());
    }
    paths
}

/// The lines of blocked pairs: out of a box, up beside its column, across, and down again.
fn detours(boxes: &[Rect], relays: usize, columns: usize, corridor: f64, lanes: &Lanes) -> Vec<Path> {
    let mut used: BTreeMap<usize, usize> = BTreeMap::new();
    let mut of_box: BTreeMap<usize, usize> = BTreeMap::new();
    let mut at_box: BTreeMap<usize, usize> = BTreeMap::new();
    for end in &lanes.ends {
        *of_box.entry(*end).or_default() += 1;
    }
    // The lane of an end, and where it leaves its box.
    let mut leave = |item: usize| {
        let rect = &boxes[item];
        let n = at_box.entry(item).or_default();
        *n += 1;
        let part = *n as f64 / (of_box[&item] + 1) as f64;
        match column_of(item, relays, columns) {
            None => {
                let x = rect.x + WIDTH * part;
                ((x, rect.bottom()), x)
            }
            Some(column) => {
                let lane = used.entry(column).or_default();
                *lane += 1;
                (
                    (rect.right(), rect.y + rect.height * part),
                    rect.right() + GAP / 2.0 + (*lane - 1) as f64 * LANE,
                )
            }
        }
    };
    let mut paths = Vec::new();
    for (n, ((a, b), blocked)) in lanes.pairs.iter().enumerate() {
        let ((from, out), (to, back)) = (leave(*a), leave(*b));
        let y = corridor + n as f64 * LANE;
        let together = column_of(*a, relays, columns);
        let points = if together.is_some() && together == column_of(*b, relays, columns) {
            vec![from, (out, from.1), (out, to.1), to]
        } else {
            vec![from, (out, from.1), (out, y), (back, y), (back, to.1), to]
        };
        paths.push(Path { points, blocked: Some(*blocked) });
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network's diagram: so many relays, spokes of several heights, and every so-manieth pair blocked.
    fn made(relays: usize, spokes: usize, every: usize) -> Diagram {
        let item = |n: usize| Item {
            title: "a name that is as long as any".into(),
            lines: vec![String::new(); 1 + n % 3],
            sites: vec![String::new(); n % 4],
            blocked: vec![String::new(); usize::from(n.is_multiple_of(5))],
            nodes: 1,
            is_relay: n < relays,
            is_active: true,
        };
        let all = relays + spokes;
        let pairs = (0..all).flat_map(|a| (a + 1..all).map(move |b| (a, b)));
        let pairs = pairs.step_by(every).map(|pair| (pair, Blocked { pairs: 1, of: 2 }));
        Diagram {
            name: String::new(),
            answer: String::new(),
            items: (0..all).map(item).collect(),
            blocked: pairs.collect(),
            reasons: Vec::new(),
        }
    }

    /// Whether a straight line comes into the inside of a box.
    fn crosses(rect: &Rect, (a, b): ((f64, f64), (f64, f64))) -> bool {
        let (x, y) = ((a.0.min(b.0), a.0.max(b.0)), (a.1.min(b.1), a.1.max(b.1)));
        assert!((a.0 - b.0).abs() < 0.01 || (a.1 - b.1).abs() < 0.01, "{a:?} {b:?}");
        x.1 > rect.x && x.0 < rect.right() && y.1 > rect.y && y.0 < rect.bottom()
    }

    #[test]
    fn nothing_lies_on_a_box() {
        for (relays, spokes, every) in [
            (1, 0, 1),
            (1, 1, 1),
            (1, 2, 1),
            (1, 2, 2),
            (2, 0, 1),
            (3, 0, 1),
            (3, 7, 1),
            (1, 29, 11),
            (1, 29, 37),
            (2, 28, 13),
            (1, 8, 1),
            (4, 3, 2),
            (1, 299, 1),
            (1, 299, 1171),
            (2, 298, 1493),
            (0, 3, 1),
            (1, 300, 999_999),
        ] {
            let diagram = made(relays, spokes, every);
            let found = layout(&diagram);
            let what = format!("{relays} relays, {spokes} spokes, every {every}");
            assert_eq!(found.boxes.len(), relays + spokes, "{what}");
            for (i, a) in found.boxes.iter().enumerate() {
                assert!(
                    a.x >= 0.0 && a.y >= 0.0 && a.right() <= found.width && a.bottom() <= found.height,
                    "{what}: {a:?}"
                );
                for b in &found.boxes[i + 1..] {
                    let apart = (a.x - b.x).abs() >= WIDTH || a.bottom() <= b.y || b.bottom() <= a.y;
                    assert!(apart, "{what}: {a:?} {b:?}");
                }
                for path in &found.paths {
                    for pair in path.points.windows(2) {
                        assert!(!crosses(a, (pair[0], pair[1])), "{what}: {pair:?} crosses {a:?}");
                        let inside = |p: (f64, f64)| {
                            p.0 >= 0.0 && p.1 >= 0.0 && p.0 <= found.width && p.1 <= found.height
                        };
                        assert!(inside(pair[0]) && inside(pair[1]), "{what}: {pair:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_blocked_pair_is_drawn_or_none() {
        let drawn = |diagram: &Diagram| layout(diagram).paths.iter().filter(|p| p.blocked.is_some()).count();
        for every in [1, 3, 7] {
            let diagram = made(2, 6, every);
            assert_eq!(drawn(&diagram), diagram.blocked.len());
        }
        // Of too many those alone that have a line anyway.
        assert_eq!(drawn(&made(1, 30, 1)), 30);
    }

    #[test]
    fn pictures_are_wider_than_high() {
        for spokes in [8, 29, 99, 299] {
            let found = layout(&made(1, spokes, 999_999));
            let shape = found.width / found.height;
            assert!((0.9..2.5).contains(&shape), "{spokes}: {shape}");
        }
    }
}
