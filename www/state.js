// The feed's messages folded into one state. Pure: apply() never touches the state it is given, so a reader sees by
// identity which parts changed. What is kept equals what a new snapshot would bring, or holds more: the live feed also
// what a reorganisation of the chain took away, and the players all that were ever heard of in this round.

const HISTORY_LEN = 20;
const FEED_LEN = 100;

export const EMPTY = Object.freeze({
  epoch: null,
  seq: null,
  asOf: null,
  round: null,
  participants: { roundId: null, totalParticipants: 0, totalAmountWei: "0", list: [] },
  history: { rounds: [], summary: null },
  feed: [],
  operator: null,
  config: null,
  connection: null,
  finality: { safeBlock: 0, finalizedBlock: 0 },
  deployment: null,
});

/** A player: the stake exactly, and as a Number fit for drawing; `order` counts first bets from 0. */
export const player = (address, wei, order) => ({ address, wei: BigInt(wei), size: Number(wei), order });

const OWN_TO_A_CONNECTION = new Set(["snapshot", "heartbeat", "shutdown"]);

/**
 * The state after `message`, and whether the stream is whole: {state, whole}. When it is not, a number was skipped and the
 * caller asks for a new snapshot.
 */
export function apply(state, message) {
  const { type, seq, payload } = message;
  if (type === "snapshot") return { state: fromSnapshot(payload), whole: true };
  if (state.epoch === null) return { state, whole: false };
  if (OWN_TO_A_CONNECTION.has(type)) {
    return { state: payload?.asOf ? { ...state, asOf: payload.asOf } : state, whole: seq === state.seq };
  }
  if (seq <= state.seq) return { state, whole: true };
  if (seq !== state.seq + 1) return { state, whole: false };
  const change = CHANGES[type];
  const next = { ...state, ...(change ? change(state, payload) : {}), seq };
  if (payload.asOf) next.asOf = payload.asOf;
  return { state: next, whole: true };
}

function fromSnapshot(payload) {
  const { participants } = payload;
  return {
    epoch: payload.epoch,
    seq: payload.seq,
    asOf: payload.asOf,
    round: payload.round,
    participants: {
      roundId: participants.roundId,
      totalParticipants: participants.totalParticipants,
      totalAmountWei: participants.totalAmountWei,
      list: ranked(participants.participants.map(entryOf)),
    },
    history: payload.history,
    feed: payload.liveFeed,
    operator: payload.operator,
    config: payload.config,
    connection: payload.connection,
    finality: payload.finality,
    deployment: payload.deployment ?? null,
  };
}

// One entry a message type: the parts of the state it changes. Types not listed only move the sequence on.
const CHANGES = {
  round_update: (_, { round }) => ({ round }),
  participants_update: ({ participants }, update) => ({ participants: withParticipants(participants, update) }),
  history_update: ({ history }, { round, summary }) => ({ history: withFinished(history, round, summary) }),
  live_feed: ({ feed }, { item }) => ({ feed: withItem(feed, item) }),
  config_update: (_, { config }) => ({ config }),
  operator_status: (_, { operator }) => ({ operator }),
  connection_status: (_, { connection }) => ({ connection }),
  finality: (_, { safeBlock, finalizedBlock }) => ({ finality: { safeBlock, finalizedBlock } }),
  reorg: withReorg,
};

/** Players by amount, descending, then by first bet. Each bet moves one entry of the list. */
function withParticipants(participants, update) {
  const { roundId, totalParticipants, totalAmountWei, changed } = update;
  const replaces = update.replacesAll || participants.roundId !== roundId;
  const list = replaces ? ranked(changed.map(entryOf)) : placed(participants.list, changed.map(entryOf));
  return { roundId, totalParticipants, totalAmountWei, list };
}

function placed(list, changed) {
  const addresses = new Set(changed.map((entry) => entry.address));
  const next = list.filter((entry) => !addresses.has(entry.address));
  for (const entry of changed) {
    let [low, high] = [0, next.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (byAmountThenFirstBet(next[middle], entry) < 0) low = middle + 1;
      else high = middle;
    }
    next.splice(low, 0, entry);
  }
  return next;
}

const entryOf = ({ address, totalAmountWei, order }) => player(address, totalAmountWei, order);
const ranked = (list) => [...list].sort(byAmountThenFirstBet);

function byAmountThenFirstBet(a, b) {
  if (a.wei !== b.wei) return a.wei > b.wei ? -1 : 1;
  return a.order - b.order;
}

/** The state with further players, asked for page by page. What the feed said of one is newer: bets only add up. */
export function withPlayers(state, roundId, rows) {
  const { participants } = state;
  if (participants.roundId !== roundId) return state;
  const known = new Map(participants.list.map((entry) => [entry.address, entry]));
  for (const entry of rows.map(entryOf)) {
    const mine = known.get(entry.address);
    if (!mine || mine.wei < entry.wei) known.set(entry.address, entry);
  }
  return { ...state, participants: { ...participants, list: ranked(known.values()) } };
}

/**
 * The state as the HTTP API tells it, for when there is no feed: `told` holds the answers of api/status (status), and
 * where they were asked for those of the players (participants), the events (activities) and the contract (config).
 */
export function fromAnswers(state, { status, participants, activities, config }) {
  const { asOf, round, lastRounds, operator, chain } = status;
  const others = state.history.rounds.filter((known) => lastRounds.every((row) => row.roundId !== known.roundId));
  return {
    ...state,
    epoch: state.epoch ?? "",
    asOf,
    round: round.roundId === null ? null : round,
    participants: participants
      ? { ...participants, list: ranked(participants.participants.map(entryOf)) }
      : { ...state.participants, ...status.participants },
    history: { ...state.history, rounds: [...lastRounds, ...others].slice(0, HISTORY_LEN) },
    feed: activities?.activities ?? state.feed,
    operator,
    config: config ?? state.config,
    connection: chain.connection,
    finality: chain.finality,
    deployment: status.deployment ?? state.deployment,
  };
}

function withFinished(history, round, summary = history.summary) {
  const others = history.rounds.filter((known) => known.roundId !== round.roundId);
  const kept = Math.min(HISTORY_LEN, summary?.totalRounds ?? HISTORY_LEN);
  const rounds = [...others, round].sort((a, b) => b.roundId - a.roundId).slice(0, kept);
  return { rounds, summary };
}

function withItem(feed, item) {
  return [item, ...feed.filter((known) => known.id !== item.id)].slice(0, FEED_LEN);
}

// The history comes whole where the reorganisation changed it, because older rounds may have come back. The live feed
// keeps what was taken away, struck through.
function withReorg({ history, feed }, { retracted, history: changed }) {
  const gone = new Set(retracted);
  return {
    history: changed ?? history,
    feed: feed.map((item) => (gone.has(item.id) ? { ...item, retracted: true } : item)),
  };
}

/** How settled a block is: "finalized", "safe" or "latest". */
export function finalityOf(finality, blockNumber) {
  if (blockNumber <= finality.finalizedBlock) return "finalized";
  return blockNumber <= finality.safeBlock ? "safe" : "latest";
}
