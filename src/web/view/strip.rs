//! The pot as a strip, drawn by the server: an SVG of the players in first-bet order, each as wide as the stake, and the
//! needle of a draw. The page's `strip.js` draws the same on a canvas as soon as it runs.

use std::fmt::Write;

use crate::chain::types::{Address, U256};
use crate::web::view::words::{counted, percent, short};

/// Colours repeat after a dozen, and neighbours never share one.
const COLOURS: usize = 12;
/// Parts thinner than this share of the strip, in millionths, are drawn together.
const PART_MIN: u64 = 2_000;
const WHOLE: u64 = 1_000_000;

pub struct Strip {
    pub svg: String,
    /// What it shows, for those who do not see it.
    pub words: String,
}

pub fn empty() -> Strip {
    Strip {
        svg: "<svg aria-hidden=\"true\"></svg>".to_owned(),
        words: "The pot is empty.".to_owned(),
    }
}

/// `totals` in first-bet order; `drawn` is the wei that was drawn and who held it.
pub fn of(
    totals: impl IntoIterator<Item = (Address, U256)>,
    drawn: Option<(U256, Address)>,
) -> Strip {
    let totals: Vec<(Address, U256)> = totals.into_iter().collect();
    let pot = totals
        .iter()
        .fold(U256::zero(), |sum, (_, wei)| sum.saturating_add(*wei));
    if pot.is_zero() {
        return empty();
    }
    let mut svg = "<svg aria-hidden=\"true\">".to_owned();
    let mut painter = Painter {
        svg: &mut svg,
        drawn_at: 0,
    };
    let mut running = U256::zero();
    for (index, (player, wei)) in totals.iter().enumerate() {
        running = running.saturating_add(*wei);
        let to = millionths(running, pot);
        let is_hit = drawn.is_some_and(|(_, winner)| winner == *player);
        let class = match (drawn, is_hit) {
            (Some(_), false) => " dim",
            _ => "",
        };
        painter.part(
            index % COLOURS,
            class,
            to,
            is_hit || index + 1 == totals.len(),
        );
    }
    if let Some((point, _)) = drawn {
        let at = percents(millionths(point, pot));
        let _ = write!(
            svg,
            "<line x1=\"{at}%\" x2=\"{at}%\" y1=\"0\" y2=\"100%\"/>"
        );
    }
    svg.push_str("</svg>");
    Strip {
        svg,
        words: words(&totals, pot, drawn),
    }
}

struct Painter<'a> {
    svg: &'a mut String,
    /// Up to here, in millionths, the strip is drawn.
    drawn_at: u64,
}

impl Painter<'_> {
    /// From where the last part ended up to `to`; what is too thin waits for its neighbours unless it `must` be seen.
    fn part(&mut self, colour: usize, class: &str, to: u64, must: bool) {
        let width = to.saturating_sub(self.drawn_at);
        if width < PART_MIN && !must {
            return;
        }
        let (from, width) = (percents(self.drawn_at), percents(width));
        let _ = write!(
            self.svg,
            "<rect class=\"p{colour}{class}\" x=\"{from}%\" width=\"{width}%\"/>"
        );
        self.drawn_at = to;
    }
}

fn millionths(part: U256, whole: U256) -> u64 {
    crate::web::view::words::millionths(part, whole).min(WHOLE)
}

/// Millionths as percent with up to four decimals.
fn percents(millionths: u64) -> String {
    let text = format!("{}.{:04}", millionths / 10_000, millionths % 10_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn words(totals: &[(Address, U256)], pot: U256, drawn: Option<(U256, Address)>) -> String {
    let count = u64::try_from(totals.len()).unwrap_or(u64::MAX);
    let mut words = format!(
        "The pot in the order of first bets: {}.",
        counted(count, "player")
    );
    // The first of equals, as the page's own words have it.
    let largest = totals.iter().rev().max_by_key(|(_, wei)| *wei);
    if let Some((player, wei)) = largest {
        let _ = write!(
            words,
            " The largest part is {}'s, {}.",
            short(*player),
            percent(*wei, pot)
        );
    }
    if let Some((_, winner)) = drawn {
        let _ = write!(words, " The needle fell into {}'s part.", short(winner));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn player(number: u64) -> Address {
        Address::from_low_u64_be(number)
    }

    #[test]
    fn parts_are_as_wide_as_the_stakes_and_the_needle_lies_on_its_wei() {
        let totals = [
            (player(1), 50.into()),
            (player(2), 25.into()),
            (player(3), 25.into()),
        ];
        let drawn = strip_of(&totals, Some((60.into(), player(2))));
        assert_eq!(
            drawn.svg,
            "<svg aria-hidden=\"true\"><rect class=\"p0 dim\" x=\"0%\" width=\"50%\"/>\
             <rect class=\"p1\" x=\"50%\" width=\"25%\"/><rect class=\"p2 dim\" x=\"75%\" width=\"25%\"/>\
             <line x1=\"60%\" x2=\"60%\" y1=\"0\" y2=\"100%\"/></svg>"
        );
        assert!(drawn.words.contains("3 players"), "{}", drawn.words);
        assert!(drawn.words.contains("50.0\u{a0}%"), "{}", drawn.words);
    }

    #[test]
    fn five_thousand_players_stay_a_small_picture_without_a_gap() {
        let totals: Vec<_> = (0..5_000)
            .map(|number| (player(number), 7.into()))
            .collect();
        let strip = strip_of(&totals, None);
        let parts = strip.svg.matches("<rect").count();
        assert!(parts <= 501, "{parts} parts");
        assert!(strip.svg.contains("x=\"0%\""));
        let last = strip.svg.rsplit("x=\"").next().unwrap();
        let (from, rest) = last.split_once('%').unwrap();
        let width = rest
            .split_once("width=\"")
            .unwrap()
            .1
            .split_once('%')
            .unwrap()
            .0;
        let end = from.parse::<f64>().unwrap() + width.parse::<f64>().unwrap();
        assert!((end - 100.0).abs() < 0.001, "it ends at {end} %");
    }

    #[test]
    fn nothing_is_an_empty_strip() {
        assert_eq!(strip_of(&[], None).words, "The pot is empty.");
        assert_eq!(
            strip_of(&[(player(1), 0.into())], None).words,
            "The pot is empty."
        );
    }

    fn strip_of(totals: &[(Address, U256)], drawn: Option<(U256, Address)>) -> Strip {
        of(totals.iter().copied(), drawn)
    }
}
