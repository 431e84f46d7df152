//! File descriptors: the limit is raised as far as the system allows, and some are kept for talking to the chain, so
//! that no flood of connections can stop a draw.

/// Kept for calls to the chain, files, the listeners and the private port, or three of four where that is more than there
/// are.
const RESERVE: u64 = 96;

/// Raises RLIMIT_NOFILE to its hard limit; how many connections fit below it.
pub(crate) fn connections_that_fit() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit writes to the struct it is given, which outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return 256;
    }
    let raised = libc::rlimit {
        rlim_cur: limit.rlim_max,
        rlim_max: limit.rlim_max,
    };
    // SAFETY: setrlimit reads the struct it is given, which outlives the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
        limit = raised;
    }
    beside_the_reserve(limit.rlim_cur)
}

fn beside_the_reserve(limit: u64) -> usize {
    let fit = limit.saturating_sub(RESERVE).max(limit / 4);
    usize::try_from(fit).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_calls_to_the_chain_however_few_descriptors_there_are() {
        for (limit, fit) in [
            (0, 1),
            (16, 4),
            (24, 6),
            (64, 16),
            (120, 30),
            (1_024, 928),
            (
                u64::MAX,
                usize::try_from(u64::MAX - RESERVE).unwrap_or(usize::MAX),
            ),
        ] {
            assert_eq!(beside_the_reserve(limit), fit, "{limit}");
        }
    }
}
