// Short marks with words: how the check of a draw came out. Never colour alone.

import { make } from "./dom.js";

const VERDICTS = {
  verified: ["badge good", "✓", "verified"],
  mismatch: ["badge bad", "✕", "mismatch"],
  unverifiable: ["badge warn", "?", "unverifiable"],
};

/** The daemon's own verdict on a finished round. */
export function verdictBadge({ type, verdict, verdictWhy }) {
  if (type === "RoundRefunded") return badge("badge", "↩", "refunded", "Every bet went back to its player");
  const [className, mark, words] = VERDICTS[verdict] ?? VERDICTS.unverifiable;
  return badge(className, mark, words, verdictWhy ?? "Recomputed by this server");
}

export function badge(className, mark, words, title = null) {
  return make("span", { class: className, title }, make("span", { "aria-hidden": "true" }, mark), " ", make("span", { class: "badge-words" }, words));
}
