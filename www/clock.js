// Chain time in the page: the last timestamp known of the chain, carried forward by the monotonic clock. The visitor's
// wall clock takes no part, so a wrong one cannot move the countdown. Pure: the caller passes monotonic milliseconds.

const DRIFT_SECONDS_MAX = 30;

export function chainClock() {
  let anchor = null;
  let newestBlock = -1;
  const at = (monotonicMs) => (anchor ? anchor.timestamp + (monotonicMs - anchor.monotonicMs) / 1000 : null);

  return {
    /** Seconds of chain time, with fraction; null before anything is known. */
    at,

    /**
     * The daemon's own chain time, read between the two moments, as whole seconds: what agrees with it stays as it is, so
     * that no second is shown twice. Nothing is told where it is not known.
     */
    set(timestamp, askedMs, answeredMs = askedMs) {
      if (!timestamp) return;
      const told = { timestamp: timestamp + 0.5, monotonicMs: (askedMs + answeredMs) / 2 };
      if (anchor === null || Math.abs(at(told.monotonicMs) - told.timestamp) > 1) anchor = told;
    },

    /**
     * A block the feed spoke of. Its timestamp can only be late news, so it moves the clock forward and never back.
     * Answers true when a new block's time lies so far behind that the daemon should be asked.
     */
    observe({ blockNumber, timestamp }, monotonicMs) {
      const known = at(monotonicMs);
      if (known === null || timestamp > known) anchor = { timestamp, monotonicMs };
      const isNew = blockNumber > newestBlock;
      newestBlock = Math.max(newestBlock, blockNumber);
      return isNew && known !== null && known - timestamp > DRIFT_SECONDS_MAX;
    },
  };
}
