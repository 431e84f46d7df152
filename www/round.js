// What a round's numbers mean at a given chain time: its phase, the moment that the page shows, and the words for it.
// Pure; the bounds are the contract's own. The server writes the same words into the page before any script runs.

import { counted, duration, etherShort, grouped, odds, percent, shortHex } from "./format.js";

const BETTING = 1;
/** How long a result stays in view when the next round has begun. */
const RESULT_SECONDS = 60;
/** How long a result is news while nobody bets. */
const NEWS_SECONDS = 600;

/** The phase at chain time `now` (unix seconds). Bets are taken up to and including endTime; the draw window includes both its ends. */
export function phaseOf(round, now) {
  if (round.state !== BETTING) return "waiting";
  if (now <= round.endTime) return "betting";
  if (BigInt(round.totalPotWei) === 0n) return "stuck";
  if (now < round.minDrawTime) return "closed";
  return now <= round.maxDrawTime ? "draw_window" : "overdue";
}

/** How a countdown's target lies: {until} counts down to it, {since} counts up from it. */
const CLOCKS = {
  betting: (round) => ({ until: round.endTime }),
  closed: (round) => ({ until: round.minDrawTime }),
  draw_window: (round) => ({ since: round.minDrawTime }),
  overdue: (round) => ({ since: round.maxDrawTime }),
};

/**
 * What the first screen shows: {kind, roundId, clock, finished}. `kind` is a phase, "locked", "drawn", "refunded" or "unknown";
 * `finished` is the row of the finished round that is shown, or null. `pinned` is a row that the visitor asked for.
 */
export function momentOf({ round, history, operator }, now, pinned, dismissedId) {
  if (pinned) return finishedMoment(pinned);
  if (!round || now === null) return { kind: "unknown", roundId: null, clock: null, finished: null };
  const phase = phaseOf(round, now);
  const kind = phase === "overdue" && isLocked(operator, round) ? "locked" : phase;
  const last = history.rounds[0] ?? null;
  const age = last ? now - last.finishedAt : Infinity;
  if (last && last.roundId !== dismissedId && last.roundId === round.roundId - 1) {
    const stays = phase === "waiting" ? NEWS_SECONDS : RESULT_SECONDS;
    if (age < stays && (phase === "waiting" || phase === "betting")) return finishedMoment(last);
  }
  return { kind, roundId: round.roundId, clock: CLOCKS[kind]?.(round) ?? null, finished: phase === "waiting" ? last : null };
}

/** Whether the operator has found that the bets cannot go back either. */
const isLocked = (operator, { roundId }) => Boolean(operator?.alerts.some((alert) => alert.code === "stuck_round" && alert.roundId === roundId));

function finishedMoment(row) {
  return { kind: row.type === "RoundCompleted" ? "drawn" : "refunded", roundId: row.roundId, clock: null, finished: row };
}

/**
 * The words of the first screen: {kicker, big, line, pot, potLine}; `big` is null where a clock stands, and its lines are
 * told apart by \n. `known` are my account and my stake, and what the winner held, in wei, where they are known.
 */
export function wordsOf(moment, state, known = {}) {
  const { round, config, operator } = state;
  const name = moment.roundId === null ? "" : `Round ${grouped(moment.roundId)}`;
  switch (moment.kind) {
    case "waiting":
      return { kicker: name, big: "Opens with\nthe first bet", line: waitingLine(config), ...lastPot(moment.finished) };
    case "betting":
      return { kicker: `${name} is open`, big: null, line: "to bet in this round, then one wei is drawn", ...runningPot(round, config) };
    case "closed":
      return { kicker: `${name} is closed`, big: null, line: "until one wei of the pot can be drawn", ...runningPot(round, config) };
    case "draw_window":
      return { kicker: `${name}: ${drawingWords(round, config, operator)}`, big: null, line: "since the first block that could draw it", ...runningPot(round, config) };
    case "overdue":
      return { kicker: `${name} was not drawn in time`, big: null, line: "late. Nobody can win it any more: every bet goes back.", ...runningPot(round, config, "to return to") };
    case "locked":
      return { kicker: `${name} is stuck`, big: "The pot\nis locked", line: "Somebody in it cannot be paid, and the contract pays everybody back or nobody. Do not bet: what is in it is not safe.", pot: round.totalPotWei, potLine: `of ${counted(round.participantCount, "player")}` };
    case "stuck":
      return { kicker: `${name} is stuck`, big: "Do not bet", line: "It ended without a bet. The contract takes nothing more in this round; no money is in it.", pot: "0", potLine: "Nobody has lost anything" };
    case "drawn":
      return drawnWords(name, moment.finished, known);
    case "refunded":
      return refundedWords(name, moment.finished, known);
    default:
      return { kicker: "Reading the chain", big: "Not known\nyet", line: "What runs here, and whether anybody has bet, is told as soon as the chain was read.", pot: null, potLine: "The pot is not known yet" };
  }
}

function waitingLine(config) {
  return config ? `Betting then stays open for ${duration(config.bettingDurationSeconds)}.` : "The first bet starts the round.";
}

function runningPot(round, config, verb = null) {
  const { totalPotWei, participantCount } = round;
  const players = counted(participantCount, "player");
  const missing = config ? config.minParticipants - participantCount : 0;
  if (verb) return { pot: totalPotWei, potLine: `${verb} ${players}` };
  if (missing > 0) return { pot: totalPotWei, potLine: `${players} · ${grouped(missing)} more needed for a draw` };
  return { pot: totalPotWei, potLine: config ? `${players} · winner takes ${etherShort(prizeOf(totalPotWei, config))}` : players };
}

/** The pot less the commission, as the contract rounds it. */
export function prizeOf(potWei, config) {
  const pot = BigInt(potWei);
  return pot - (pot * BigInt(config.commissionBps)) / 10000n;
}

function lastPot(last) {
  if (!last) return { pot: null, potLine: "No round has finished yet" };
  if (last.type === "RoundCompleted") {
    return { pot: last.winnerPrizeWei, potLine: `went to ${shortHex(last.winner)} in round ${grouped(last.roundId)}` };
  }
  return { pot: last.totalPotWei, potLine: `of round ${grouped(last.roundId)} went back to its players` };
}

function drawingWords(round, config, operator) {
  if (config && config.minParticipants > round.participantCount) return "too few players, the draw returns every bet";
  const inFlight = operator?.inFlight;
  if (inFlight?.roundId === round.roundId && inFlight.action.startsWith("draw")) return "the draw is on its way";
  return "the draw is due";
}

function drawnWords(name, row, { me, mine, held }) {
  const pot = BigInt(row.totalPotWei);
  const isMe = Boolean(me) && row.winner.toLowerCase() === me;
  return {
    kicker: pot > 0n ? `${name} is drawn. The needle fell on wei ${grouped(pointOf(row))}` : `${name} is drawn`,
    big: isMe ? "You\ntake it" : `${shortHex(row.winner)}\ntakes it`,
    line: isMe ? "The contract has paid it out to you." : mine ? `Your ${percent(mine, pot)} did not win this time.` : "Every wei of the pot had the same chance.",
    pot: row.winnerPrizeWei,
    potLine: known(held) ? `held ${percent(held, pot)}, ${chance(held, pot)}` : `of ${etherShort(pot)} in the pot`,
  };
}

const known = (value) => value !== null && value !== undefined;

/** The wei that was drawn: the seed modulo the pot. */
export const pointOf = ({ randomSeed, totalPotWei }) => BigInt(randomSeed) % BigInt(totalPotWei);

const chance = (held, pot) => odds(held, pot).replace("about 1 in", "1 chance in");

function refundedWords(name, row, { mine }) {
  return {
    kicker: `${name} was refunded`,
    big: "Everyone is\npaid back",
    line: mine ? `${reasonWords(row)} Your ${etherShort(mine)} ETH came back to you.` : reasonWords(row),
    pot: row.totalPotWei,
    potLine: `went back to ${counted(row.participantCount, "player")}`,
  };
}

/** Why a draw is late or was, by the label of the reason; the server writes the same. */
const HELD_UP = {
  not_mined: "it was sent in time, and no block took it at once",
  unforeseen: "that block came sooner than expected, or was shown late",
  fee_capped: "a cap kept its fee too low",
  low_balance: "the operator was short of ether for its fee",
  signer_failed: "it was not signed",
  no_answer: "no node of the chain answered",
  reverted: "the contract refused a try",
  unpayable_player: "a try would have been won by a player who cannot be paid",
  reorg: "the chain took the block of an earlier draw back",
  standing_by: "it was left to another server first",
  switched_off: "the operator was switched off",
  started_late: "this server was started after that",
  sent_by_another: "it did not come from this server",
};

export function heldUpWords(label) {
  return HELD_UP[label] ? ` What held it up, as this server saw it: ${HELD_UP[label]}.` : "";
}

/** How soon a draw came, counted from the first block that allowed it. */
export function delayWords({ drawDelayBlocks, drawDelaySeconds }) {
  if (drawDelayBlocks === undefined || drawDelayBlocks === null) return "";
  if (drawDelayBlocks === 0) return ", in the first block that allowed it";
  return `, ${counted(drawDelayBlocks, "block")} (${duration(drawDelaySeconds)}) after the first that allowed it`;
}

const REASONS = {
  "Insufficient participants": "Too few players took part for a draw.",
  "Draw time expired - public refund": "Nobody drew it within its window.",
  "Operator-initiated refund": "The operator called it off.",
};

/** Why a round was refunded, in words; the contract's own where they are not known, set apart. */
export function reasonWords({ refundReason }) {
  return REASONS[refundReason] ?? `The contract says: \u2068${refundReason}\u2069.`;
}

/** How far the running span of time has come, from 0 to 1, for the bar under the strip. */
export function progressOf(kind, round, now) {
  const [from, to] = {
    betting: [round?.startTime, round?.endTime],
    closed: [round?.endTime, round?.minDrawTime],
    draw_window: [round?.minDrawTime, round?.maxDrawTime],
  }[kind] ?? [0, 0];
  if (!to || now === null || to <= from) return 0;
  return Math.min(1, Math.max(0, (now - from) / (to - from)));
}
