// Short marks with words: how the check of a draw came out, and how settled a block is. Never colour alone.

import { make } from "./dom.js";

const VERDICTS = {
  verified: ["badge good", "✓ verified"],
  mismatch: ["badge bad", "✕ mismatch"],
  unverifiable: ["badge warn", "? unverifiable"],
};
const STANDINGS = {
  latest: ["badge", "◔ may still change", "The block is new; a reorganisation of the chain could still replace it."],
  safe: ["badge", "◑ safe", "The block is unlikely to be replaced."],
  finalized: ["badge", "● final", "The block is finalized and cannot be replaced."],
};

/** The daemon's own verdict on a finished round. */
export function verdictBadge({ type, verdict, verdictWhy }) {
  if (type === "RoundRefunded") return make("span", { class: "badge" }, "↩ refunded");
  const [className, words] = VERDICTS[verdict] ?? VERDICTS.unverifiable;
  return make("span", { class: className, title: verdictWhy ?? "Recomputed by this server" }, words);
}

export function standingBadge(standing) {
  const [className, words, title] = STANDINGS[standing];
  return make("span", { class: className, title }, words);
}
