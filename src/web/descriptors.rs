//! File descriptors: the limit is raised as far as the system allows, and some are kept for talking to the chain, so
//! that no flood of connections can stop a draw.

/// Kept for calls to the chain, files, the listeners and the private port.
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
    usize::try_from(limit.rlim_cur.saturating_sub(RESERVE))
        .unwrap_or(usize::MAX)
        .max(16)
}
