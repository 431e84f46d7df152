// How the draws of the rounds kept here came out: checked or not, and how soon they were drawn.

import { byId, fill, make, show } from "./dom.js";
import { counted, duration, grouped } from "./format.js";

/** `figures` are those of GET /api/fairness; null where they are not known. */
export function renderFairness(figures) {
  fill(byId("fairness-figures"), [figures], () => (figures ? make("p", null, sentences(figures)) : null));
  show(byId("known-ahead"), figures?.randomnessKnownAhead === true);
}

function sentences({ drawn, refunded, verified, mismatched, unverifiable, timedDraws, firstBlockDraws, longestDelayBlocks, longestDelaySeconds }) {
  const count = drawn + refunded;
  if (count === 0) return "No round has ended yet that could be checked here.";
  const checked = [
    `${counted(verified, "end")} ${verified === 1 ? "follows" : "follow"} from the chain`,
    mismatched > 0 ? `${grouped(mismatched)} ${mismatched === 1 ? "does" : "do"} not` : null,
    unverifiable > 0 ? `${grouped(unverifiable)} could not be checked` : null,
  ].filter(Boolean).join(", ");
  const latest = longestDelayBlocks > 0 ? `; the latest came ${counted(longestDelayBlocks, "block")} (${duration(longestDelaySeconds)}) after it` : "";
  const punctual = timedDraws > 0 ? ` ${grouped(firstBlockDraws)} of ${counted(timedDraws, "draw")} came in the first block that allowed it${latest}.` : "";
  return `Of the ${counted(count, "round")} kept here ${grouped(drawn)} ${drawn === 1 ? "was" : "were"} drawn and ${grouped(refunded)} refunded. ${checked}.${punctual}`;
}
