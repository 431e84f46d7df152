// The connection to the WebSocket feed: opens it, resumes where it broke off, and says truthfully how it stands.
// What the messages mean is left to the receiver.

const SILENCE_MS_MAX = 40_000;
const SNAPSHOT_WAIT_MS_MAX = 15_000;
const BACKOFF_MS_FIRST = 500;
const BACKOFF_MS_MAX = 30_000;
const STABLE_MS = 10_000;

/**
 * `receive(message)` answers false when the stream is broken and a new snapshot is needed. `position()` answers
 * {epoch, seq} to resume from, or null. `changed(live)` hears when the feed begins or ceases to deliver.
 */
export function connectFeed(url, { receive, position, changed }) {
  let socket = null;
  let live = null;
  let failures = 0;
  let resumable = true;
  let retryTimer = 0;
  let silenceTimer = 0;
  let stableTimer = 0;

  function open() {
    clearTimeout(retryTimer);
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
    tell(false);
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
  };
}
