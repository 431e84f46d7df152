//! Where on a chain something began to hold, found with few questions: in steps that double from where it is known to
//! hold, then by halves. Pure; what is asked, and of whom, is the caller's business.

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

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
