// What a round's numbers mean at a given chain time: its phase, the words for it, and the moment it waits for.
// Pure; the bounds are the contract's own.

import { counted, duration } from "./format.js";

/** The phase at chain time `now` (unix seconds). Bets are taken up to and including endTime; the draw window includes both its ends. */
export function phaseOf(round, now) {
  if (round.state !== BETTING) return "waiting";
  if (now <= round.endTime) return "betting";
  if (BigInt(round.totalPotWei) === 0n) return "stuck";
  if (now < round.minDrawTime) return "closed";
  return now <= round.maxDrawTime ? "draw_window" : "overdue";
}

const BETTING = 1;

/** {headline, detail, until, untilLabel}: until is a unix second of chain time, or null when no end is fixed. */
export function describe(round, phase, config, operator) {
  switch (phase) {
    case "waiting":
      return {
        headline: "Waiting for the first bet",
        detail: config
          ? `The first bet starts the round. Betting then stays open for ${duration(config.bettingDurationSeconds)}.`
          : "The first bet starts the round.",
        until: null,
        untilLabel: "",
      };
    case "betting":
      return {
        headline: "Betting is open",
        detail: bettingDetail(round, config),
        until: round.endTime,
        untilLabel: "until betting closes",
      };
    case "closed":
      return {
        headline: "Betting is closed",
        detail: "No bet is taken any more. The draw may be mined as soon as the draw window opens.",
        until: round.minDrawTime,
        untilLabel: "until the draw window opens",
      };
    case "draw_window":
      return {
        headline: isBeing(operator, round, "draw") ? "Drawing now" : "Draw due",
        detail: isBeing(operator, round, "draw")
          ? "The operator's draw transaction is on its way. The block that includes it decides who wins."
          : tooFew(round, config)
            ? "Too few players: the draw will return every bet."
            : "The operator draws the winner in the first block it can. If the window passes without a draw, every bet is returned.",
        until: round.maxDrawTime,
        untilLabel: "until the draw window ends",
      };
    case "overdue":
      return {
        headline: isBeing(operator, round, "refund") ? "Refunding now" : "Overdue: refund",
        detail:
          "The draw window has passed, so this round cannot be drawn any more. What is left is to return every bet: refundExpiredRound() on the contract does that, and anyone may call it.",
        until: null,
        untilLabel: "",
      };
    default:
      return {
        headline: "Stuck",
        detail: "Betting ended without a single bet. The contract accepts nothing for such a round any more; no money is in it.",
        until: null,
        untilLabel: "",
      };
  }
}

function bettingDetail(round, config) {
  if (BigInt(round.totalPotWei) === 0n) {
    return "Nobody has bet yet. The round needs a bet, or more time from the operator, before betting closes.";
  }
  if (tooFew(round, config)) {
    const missing = config.minParticipants - round.participantCount;
    return `${counted(missing, "more player")} needed: with fewer than ${config.minParticipants} the draw returns every bet.`;
  }
  return "Every wei in the pot has the same chance: the more you hold of it, the better your odds.";
}

function tooFew(round, config) {
  return Boolean(config) && config.minParticipants > round.participantCount;
}

function isBeing(operator, round, action) {
  const inFlight = operator?.inFlight;
  return Boolean(inFlight && inFlight.roundId === round.roundId && inFlight.action.startsWith(action));
}

/** The bar of phases: [{key, label, to, progress, current}] with progress from 0 to 1 at chain time `now`. */
export function segments(round, phase, now) {
  const started = phase !== "waiting";
  return [
    ["betting", "Betting", round.startTime, round.endTime],
    ["closed", "Closed", round.endTime, round.minDrawTime],
    ["draw_window", "Draw window", round.minDrawTime, round.maxDrawTime],
  ].map(([key, label, from, to]) => ({
    key,
    label,
    to: started ? to : null,
    progress: started ? progress(from, to, now) : 0,
    current: key === phase,
  }));
}

function progress(from, to, now) {
  if (now >= to) return 1;
  return now <= from ? 0 : (now - from) / (to - from);
}
