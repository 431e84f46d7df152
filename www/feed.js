// The connection to the WebSocket feed: opens it, resumes where it broke off, and says truthfully how it stands.
// Where no WebSocket gets through it asks over HTTP instead. What the messages mean is left to the receiver.

/** The server speaks at least every 15 s. */
const SILENCE_MS_MAX = 25_000;
const SNAPSHOT_WAIT_MS_MAX = 15_000;
const BACKOFF_MS_FIRST = 500;
const BACKOFF_MS_MAX = 30_000;
const STABLE_MS = 10_000;
const POLL_MS = 5_000;
/** So many attempts without a word, and the page asks over HTTP while it goes on trying. */
const FAILURES_BEFORE_POLLING = 2;

/**
 * `receive(message)` answers false when the stream is broken and a new snapshot is needed. `position()` answers
 * {epoch, seq} to resume from, or null. `changed(live)` hears when the feed begins or ceases to deliver. `poll()` asks
 * over HTTP, and settles when it has been answered.
 */
export function connectFeed(url, { receive, position, changed, poll }) {
  let socket = null;
  let live = null;
  let failures = 0;
  let resumable = true;
  let retryTimer = 0;
  let silenceTimer = 0;
  let stableTimer = 0;
  let pollTimer = 0;

  function open() {
    clearTimeout(retryTimer);
    if (typeof WebSocket !== "function") {
      failures = FAILURES_BEFORE_POLLING;
      startPolling(0);
      return;
    }
    const from = resumable ? position() : null;
    resumable = true;
    const address = new URL(url);
    if (from) address.searchParams.set("since", `${from.epoch}:${from.seq}`);
    const mine = new WebSocket(address);
    socket = mine;
    listenFor(mine, SNAPSHOT_WAIT_MS_MAX);
    mine.addEventListener("open", () => {
      if (mine !== socket) return;
      stableTimer = setTimeout(() => (failures = 0), STABLE_MS);
      // Without a position the state is unknown until the snapshot is here.
      if (from) tell(true);
      listenFor(mine, from ? SILENCE_MS_MAX : SNAPSHOT_WAIT_MS_MAX);
    });
    mine.addEventListener("message", (event) => {
      if (mine !== socket) return;
      listenFor(mine, SILENCE_MS_MAX);
      if (!understood(event.data)) return abandon(mine, false);
      clearTimeout(pollTimer);
      pollTimer = 0;
      tell(true);
    });
    mine.addEventListener("close", () => abandon(mine, true));
  }

  function understood(text) {
    try {
      return receive(JSON.parse(text));
    } catch (error) {
      console.warn("the feed sent a message that cannot be used:", error);
      return false;
    }
  }

  function listenFor(mine, milliseconds) {
    clearTimeout(silenceTimer);
    silenceTimer = setTimeout(() => abandon(mine, true), milliseconds);
  }

  function abandon(mine, mayResume) {
    if (mine !== socket) return;
    socket = null;
    clearTimeout(silenceTimer);
    clearTimeout(stableTimer);
    mine.close();
    resumable = mayResume;
    // Half of the wait is chance, so that the visitors of a restarted server do not come back all at once.
    const ceiling = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** failures);
    const waitMs = ceiling / 2 + (Math.random() * ceiling) / 2;
    failures = Math.min(failures + 1, 16);
    retryTimer = setTimeout(open, waitMs);
    if (failures >= FAILURES_BEFORE_POLLING) startPolling(0);
    tell(false);
  }

  function startPolling(waitMs) {
    if (pollTimer !== 0) return;
    pollTimer = setTimeout(async () => {
      if (!document.hidden) await poll().catch(() => null);
      // A message of the feed in the meantime has ended the asking.
      if (pollTimer === 0) return;
      pollTimer = 0;
      startPolling(POLL_MS);
    }, waitMs);
  }

  function tell(nowLive) {
    if (nowLive === live) return;
    live = nowLive;
    changed(live);
  }

  open();
  return {
    /** Tries at once instead of waiting out the backoff: the network is back, or someone is looking again. */
    hurry() {
      if (socket === null) open();
    },
    /** Asks anew: after a sleep of the machine an open socket may be a dead one. */
    restart() {
      if (socket !== null) abandon(socket, true);
      open();
    },
  };
}
