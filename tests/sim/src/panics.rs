//! Panics while a campaign is played on this thread, whoever catches them: the daemon's supervision would start the thread
//! anew, and nobody would hear of it. Elsewhere they are told as ever.

use std::cell::RefCell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// What was heard since somebody last asked; None where nobody listens.
    static HEARD: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// From here on they are heard on this thread.
pub fn listen() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let tell = take_hook();
        set_hook(Box::new(move |info| {
            let is_heard = HEARD.with_borrow_mut(|heard| {
                let heard = heard.as_mut();
                heard.map(|heard| heard.push(info.to_string())).is_some()
            });
            if !is_heard {
                tell(info);
            }
        }));
    });
    HEARD.set(Some(Vec::new()));
}

/// The first since the last call.
pub fn heard() -> Option<String> {
    HEARD.with_borrow_mut(|heard| heard.as_mut().and_then(|heard| heard.drain(..).next()))
}

/// From here on they are told again.
pub fn ignore() {
    HEARD.set(None);
}
