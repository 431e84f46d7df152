// The contract's own terms, and the block that they and all else on the page are told of.

import { byId, fill, make } from "./dom.js";
import { basisPoints, duration, grouped } from "./format.js";
import { address, amount, block, time } from "./links.js";

/** Null where they are not known yet. */
export function renderTerms(config) {
  if (!config) return;
  fill(byId("terms"), [config], () => make("p", null,
    "Smallest bet ", amount(config.minBetWei), `. Betting stays open for ${duration(config.bettingDurationSeconds)}; the draw may come ${duration(config.minDrawDelaySeconds)} to ${duration(config.maxDrawDelaySeconds)} after it. `,
    `A draw needs ${grouped(config.minParticipants)} players. ${basisPoints(config.commissionBps)} of the pot go to the publisher `, address(config.publisher), "; the operator is ", address(config.operator), "."));
}

/** Which block all that is shown is of. */
export function renderAsOf(asOf) {
  if (asOf?.blockNumber) byId("as-of").replaceChildren("As of block ", block(asOf.blockNumber), ", mined ", time(asOf.timestamp), ".");
}
