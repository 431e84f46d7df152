//! The signals that stop the daemon: SIGINT, SIGTERM and SIGHUP. One that was ignored when the process began, as under
//! nohup, stays ignored.

use libc::c_int;

const STOPPING: [c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Calls `handler` on a thread of its own at each such signal.
///
/// # Errors
/// What the system says when handlers cannot be installed.
pub(super) fn on_stop(handler: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    let ignored = STOPPING.map(|signal| is_ignored(signal).then_some(signal));
    ctrlc::set_handler(handler)?;
    for signal in ignored.into_iter().flatten() {
        // SAFETY: SIG_IGN is a valid disposition for each of these signals, and nothing of ours is called by it.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    Ok(())
}

fn is_ignored(signal: c_int) -> bool {
    let mut found = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action, sigaction only writes the present one to the struct that it is given; the struct is
    // read only when that succeeded.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), found.as_mut_ptr()) == 0
            && found.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
