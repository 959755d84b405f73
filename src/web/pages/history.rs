//! What passed between this host and a node, drawn, and when the node was there: SVG of ours, and no script.

use maud::{Markup, html};

use super::form::bytes;
use super::{table, text};
use crate::app::NodeTraffic;
use crate::model::Timestamp;
use crate::status::duration;
use crate::store::traffic::Bytes;
use crate::web::view::Frame;

/// So many bars has a chart.
const BARS: usize = 100;
/// So many sessions are shown.
const LISTED: usize = 20;
/// A chart's size, in its own units.
const WIDTH: usize = 1000;
const HEIGHT: u64 = 100;

/// Shows a node's history. `traffic`: `None` where it could not be read.
pub fn node_history(frame: &Frame, traffic: Option<&NodeTraffic>, now: Timestamp) -> Markup {
    let Some(told) = traffic else { return html! {} };
    let traffic = &told.traffic;
    html! {
        section aria-labelledby="traffic" {
            h2 #traffic { (frame.say(text::TRAFFIC)) }
            @if !told.kept {
                p { (frame.say(text::TRAFFIC_OFF)) }
            } @else if traffic.hours.is_empty() && traffic.sessions.is_empty() {
                p { (frame.say(text::TRAFFIC_NONE)) }
            } @else {
                div.columns {
                    (chart(frame, text::LAST_DAYS, &traffic.minutes, 48 * 3600 / 96, 96, now))
                    (chart(frame, text::LAST_YEAR, &traffic.hours, 4 * 86_400, BARS as u64, now))
                }
                @if !traffic.sessions.is_empty() {
                    h3 #sessions { (frame.say(text::SESSIONS)) }
                    (table::listed(table::Label::Heading("sessions"), &[frame.say(text::BEGAN), frame.say(text::LASTED), frame.say(text::ENDPOINT)], &html! {
                        @for one in traffic.sessions.iter().take(LISTED) {
                            tr {
                                td.num { (Timestamp(one.began)) }
                                td.num { (duration(one.duration)) }
                                td.num { (one.endpoint) }
                            }
                        }
                    }))
                }
            }
        }
    }
}

/// Draws what passed in `count` times of `step` seconds up to now: received upwards, sent downwards.
fn chart(frame: &Frame, title: text::Text, all: &[Bytes], step: u64, count: u64, now: Timestamp) -> Markup {
    let end = now.0 / step + 1;
    let begin = end.saturating_sub(count);
    let mut bars = vec![(0_u64, 0_u64); count as usize];
    for one in all {
        let at = (one.at / step).checked_sub(begin).and_then(|at| usize::try_from(at).ok());
        if let Some((rx, tx)) = at.and_then(|at| bars.get_mut(at)) {
            (*rx, *tx) = (rx.saturating_add(one.rx_bytes), tx.saturating_add(one.tx_bytes));
        }
    }
    let sum = |of: fn(&(u64, u64)) -> u64| bars.iter().map(of).fold(0, u64::saturating_add);
    let most = |of: fn(&(u64, u64)) -> u64| bars.iter().map(of).max().unwrap_or(0);
    let (rx, tx) = (|bar: &(u64, u64)| bar.0, |bar: &(u64, u64)| bar.1);
    let said = frame.fill(
        text::CHART,
        &[&frame.say(title), &bytes(sum(rx)), &bytes(sum(tx)), &bytes(most(rx)), &bytes(most(tx))],
    );
    let highest = most(rx).max(most(tx)).max(1);
    html! {
        figure {
            figcaption { span.key.rx {} span.key.tx {} (said) }
            svg.chart viewBox=(format!("0 0 {WIDTH} {}", 2 * HEIGHT)) preserveAspectRatio="none" role="img" aria-label=(said) {
                path.rx d=(path(bars.iter().map(rx), highest, true)) {}
                path.tx d=(path(bars.iter().map(tx), highest, false)) {}
                line.axis x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
            }
        }
    }
}

/// Bars as one path; what is not nothing is seen.
fn path(bars: impl ExactSizeIterator<Item = u64>, highest: u64, is_up: bool) -> String {
    let width = WIDTH / bars.len().max(1);
    let mut path = String::new();
    for (n, value) in bars.enumerate().filter(|(_, value)| *value > 0) {
        let scaled = u128::from(value) * u128::from(HEIGHT - 2) / u128::from(highest);
        let height = u64::try_from(scaled).unwrap_or(HEIGHT).clamp(2, HEIGHT - 2);
        let (x, wide) = (n * width, width.saturating_sub(2).max(1));
        let up = if is_up { "-" } else { "" };
        path += &format!("M{x} {HEIGHT}h{wide}v{up}{height}h-{wide}z");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_where_and_as_high_as_they_are() {
        assert_eq!(
            path([0, 98, 49, 1].into_iter(), 98, true),
            "M250 100h248v-98h-248zM500 100h248v-49h-248zM750 100h248v-2h-248z"
        );
        assert_eq!(path([u64::MAX].into_iter(), u64::MAX, false), "M0 100h998v98h-998z");
        assert_eq!(path(std::iter::empty::<u64>().collect::<Vec<_>>().into_iter(), 1, true), "");
    }

    #[test]
    fn what_is_of_another_time_is_not_drawn() {
        let frame = Frame::default();
        let one = |at, rx_bytes| Bytes { at, rx_bytes, tx_bytes: 0 };
        let now = Timestamp(1_800_000_000);
        let all = [one(now.0 - 90 * 86_400, 1 << 40), one(now.0 - 60, 2048), one(now.0 + 86_400, 1 << 40)];
        let drawn = chart(&frame, text::LAST_DAYS, &all, 1800, 96, now).into_string();
        assert!(drawn.contains("received 2.00 KiB, sent 0 B") && drawn.matches('M').count() == 1, "{drawn}");
    }
}
