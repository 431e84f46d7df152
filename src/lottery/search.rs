//! Where on a chain something began to hold, found with few questions: in steps that double from where it is known to
//! hold, then by halves; or, where few numbers tell anything, narrowed by those that do. Pure; what is asked, and of
//! whom, is the caller's business.

/// The lowest number from `low` up for which `holds` is true, given that it holds at `high` and that once it holds it
/// goes on holding. The first question is asked `step` below `high`; near answers cost least.
///
/// # Errors
/// The first one that `holds` gives.
pub(crate) fn first_where<E>(
    low: u64,
    high: u64,
    step: u64,
    mut holds: impl FnMut(u64) -> Result<bool, E>,
) -> Result<u64, E> {
    // It holds at `known` and does not below `low`.
    let (mut low, mut known, mut step) = (low, high, step.max(1));
    while known > low && known - low > step {
        let below = known - step;
        match holds(below)? {
            true => known = below,
            false => low = below + 1,
        }
        step = step.saturating_mul(2);
        if low == below + 1 {
            break;
        }
    }
    while known > low {
        let middle = low.midpoint(known);
        match holds(middle)? {
            true => known = middle,
            false => low = middle + 1,
        }
    }
    Ok(known)
}

/// The first leap of `narrow`, in steps.
const LEAP_STEPS: u64 = 64;
/// A look goes through no more than this part of what its leap has passed over.
const LOOK_SHARE: u64 = 8;

/// What a look at a few numbers has told of something that once it holds goes on holding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The lowest number it was seen to hold at.
    pub holds_at: Option<u64>,
    /// The highest number it was seen not to hold at yet.
    pub not_at: Option<u64>,
}

/// Bounds for where something began to hold, given that it holds at `high`, where only some numbers tell: after the lower
/// bound, and at the upper one or below. `look` goes down through a range of numbers, both ends included, until one tells
/// something. The bounds are `step` apart or little more where numbers that tell are close together; looks that tell
/// nothing cost a small part of what reading everything would.
///
/// # Errors
/// The first one that `look` gives.
pub(crate) fn narrow<E>(
    mut high: u64,
    step: u64,
    mut look: impl FnMut(u64, u64) -> Result<Told, E>,
) -> Result<(u64, u64), E> {
    let step = step.max(1);
    let mut low = 0;
    let mut leap = step.saturating_mul(LEAP_STEPS);
    loop {
        leap = leap.min(high.saturating_sub(low) / 2);
        if leap < step {
            return Ok((low, high));
        }
        let at = high - leap;
        let depth = (leap / LOOK_SHARE).max(step);
        let told = look(at.saturating_sub(depth - 1).max(low), at)?;
        match told {
            Told {
                holds_at: Some(holds_at),
                not_at,
            } => {
                high = holds_at.min(at);
                low = low.max(not_at.unwrap_or(low));
                leap = leap.saturating_mul(2);
            }
            // Nothing between that number and this one told that it holds.
            Told {
                not_at: Some(_), ..
            } => low = at,
            Told { .. } => leap /= 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// Goes down through `from..=to` and stops at the first `step` numbers among which some tell.
    fn told(telling: &[u64], first: u64, step: u64, (from, to): (u64, u64)) -> (Told, u64) {
        let (mut below, mut windows) = (to + 1, 0);
        while below > from {
            let start = below.saturating_sub(step).max(from);
            windows += 1;
            let seen = || {
                telling
                    .iter()
                    .copied()
                    .filter(|number| (start..below).contains(number))
            };
            if seen().count() > 0 {
                let holds_at = seen().filter(|number| *number >= first).min();
                let not_at = seen().filter(|number| *number < first).max();
                return (Told { holds_at, not_at }, windows);
            }
            below = start;
        }
        (Told::default(), windows)
    }

    proptest! {
        /// Wherever the numbers that tell are, what is searched for is within the bounds, and the looks are a part of
        /// what going through everything would take.
        #[test]
        fn narrowing_never_leaves_out_what_is_searched_for(
            gaps in prop::collection::vec(1..5_000u64, 1..200), chosen in 0..200usize, before in 0..2_000_000u64,
            step in 1..1_000u64,
        ) {
            let telling: Vec<u64> = gaps.iter().scan(before, |at, gap| { *at += gap; Some(*at) }).collect();
            let (first, high) = (telling[chosen % telling.len()], *telling.last().unwrap());
            let mut windows = 0;
            let (low, found) = narrow(high, step, |from, to| {
                assert!(from <= to && to < high);
                let (told, read) = told(&telling, first, step, (from, to));
                windows += read;
                Ok::<Told, Infallible>(told)
            }).unwrap();
            prop_assert!((low..=found).contains(&first) && found <= high, "{first} in {low}..={found}");
            let all = high / step + 1;
            prop_assert!(windows <= all / 2 + 64, "{windows} of {all}");
        }
    }

    #[test]
    fn where_many_numbers_tell_a_far_one_is_narrowed_down_to_in_a_dozen_looks() {
        let telling: Vec<u64> = (0..60_000).step_by(100).collect();
        for first in [100, 10_000, 30_000, 59_000] {
            let mut looks = 0;
            let (low, high) = narrow(59_900, 500, |from, to| {
                let (told, windows) = told(&telling, first, 500, (from, to));
                looks += windows;
                Ok::<Told, Infallible>(told)
            })
            .unwrap();
            assert!((low..=high).contains(&first) && high - low <= 1_000);
            assert!(looks <= 14, "{looks} looks for {first}");
        }
    }

    proptest! {
        /// The first is found, with about twice as many questions as its distance has digits.
        #[test]
        fn the_first_is_found_with_few_questions(
            low in 0..1_000_000u64, above in 0..1_000_000u64, distance in 0..1_000_000u64, step in 0..100u64,
        ) {
            let (first, high) = (low + above, low + above + distance);
            let mut asked = 0;
            let found = first_where(low, high, step, |number| {
                asked += 1;
                assert!((low..high).contains(&number));
                Ok::<bool, Infallible>(number >= first)
            });
            prop_assert_eq!(found, Ok(first));
            let digits = u64::from((distance + step + 2).ilog2());
            prop_assert!(asked <= 2 * digits + 4, "{} for {}", asked, distance);
        }
    }

    #[test]
    fn an_error_ends_the_search() {
        assert_eq!(first_where(0, 100, 1, Err), Err(99));
        assert_eq!(first_where(7, 7, 1, |_| Err(())), Ok(7));
    }
}
