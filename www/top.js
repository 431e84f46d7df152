// The upper end of the page: how the connection stands, the round in words, the countdown on chain time, the bar of
// phases and the figures; and the line at the foot that says which block all this is of.

import { keyed, make, setAttribute, setText, show } from "./dom.js";
import { basisPoints, countdown, duration, ether, grouped, localTime, utcTime } from "./format.js";
import { setTime, block, time } from "./links.js";
import { describe, segments } from "./round.js";

const byId = (id) => document.getElementById(id);

/** Draws how the connection stands; `silentMs` is how long ago the feed last spoke, or null before it ever did. */
export function renderLink(state, live, silentMs) {
  const { kind, words } = linkState(state, live, silentMs);
  setAttribute(byId("link"), "data-state", kind);
  setText(byId("link-words"), words);
  setAttribute(document.body, "data-fresh", kind === "live" ? "yes" : "no");
  renderNotice(state, kind);
}

function linkState({ epoch, asOf, connection }, live, silentMs) {
  if (epoch === null) return { kind: "connecting", words: live === null ? "Connecting…" : "Server unreachable, trying again…" };
  if (!live) return { kind: "reconnecting", words: `Reconnecting, data is ${duration(silentMs / 1000)} old` };
  if (!connection.reachable) return { kind: "unreachable", words: "Chain unreachable" };
  if (asOf === null || asOf.syncing) return { kind: "syncing", words: asOf ? `Syncing, at block ${grouped(asOf.blockNumber)}` : "Syncing" };
  return { kind: "live", words: "Live" };
}

function renderNotice({ connection, asOf }, kind) {
  const notice = byId("notice");
  if (kind === "unreachable") {
    const since = localTime(connection.since, new Date());
    const problem = connection.problem ? ` (${connection.problem})` : "";
    const shown = asOf ? ` What you see is as of block ${grouped(asOf.blockNumber)}.` : "";
    setText(notice, `The server has had no contact with the chain since ${since}${problem}.${shown}`);
  } else if (kind === "syncing") {
    setText(notice, "The server is still reading the chain. What you see may be incomplete.");
  }
  show(notice, kind === "unreachable" || kind === "syncing");
}

/** Everything about the round except what moves with the clock. */
export function renderRound({ round, config, operator }, phase) {
  setAttribute(byId("round"), "data-phase", phase ?? "unknown");
  setText(byId("round-name"), round ? `Round ${grouped(round.roundId)}` : "Round");
  if (!round) {
    setText(byId("headline"), "Waiting for the chain");
    setText(byId("detail"), "The server has not read the contract yet.");
    show(byId("clock"), false);
    return;
  }
  const words = describe(round, phase, config, operator);
  setText(byId("headline"), words.headline);
  setText(byId("detail"), words.detail);
  document.title = `${words.headline} · Lottery`;
  show(byId("clock"), words.until !== null);
  setText(byId("countdown-label"), words.untilLabel);
  setText(byId("pot"), `${ether(round.totalPotWei)} ETH`);
  setText(byId("players"), grouped(round.participantCount));
  if (config) {
    const pot = BigInt(round.totalPotWei);
    const prize = pot - (pot * BigInt(config.commissionBps)) / 10000n;
    // Past the window nobody can win this pot any more.
    setText(byId("prize"), phase === "overdue" ? "–" : `${ether(prize)} ETH`);
    setAttribute(byId("prize"), "title", `The pot less ${basisPoints(config.commissionBps)} commission`);
    setText(byId("smallest"), `${ether(config.minBetWei)} ETH`);
  }
}

/** What moves with the clock; `now` is chain time in seconds, or null. */
export function renderClock({ round, config, operator }, phase, now) {
  if (!round || now === null) return;
  const { until } = describe(round, phase, config, operator);
  if (until !== null) {
    setText(byId("countdown"), countdown(until - Math.floor(now)));
    const at = byId("countdown-at");
    setText(at, `at ${localTime(until, new Date())}`);
    setAttribute(at, "title", utcTime(until));
  }
  keyed(byId("phases"), segments(round, phase, now), (segment) => segment.key, phaseRow);
}

function phaseRow({ key, label }) {
  const filled = make("span", { class: "phase-filled" });
  const until = make("time", { class: "phase-until" });
  const node = make("li", { "data-phase": key },
    make("span", { class: "phase-track", "aria-hidden": "true" }, filled),
    make("span", { class: "phase-name" }, label),
    until);
  return {
    node,
    update({ to, progress, current }) {
      setAttribute(node, "aria-current", current ? "step" : null);
      filled.style.transform = `scaleX(${progress.toFixed(4)})`;
      show(until, to !== null);
      if (to !== null) setTime(until, to);
    },
  };
}

/** Which block the page speaks of. */
export function renderAsOf({ asOf }) {
  const node = byId("as-of");
  if (!asOf) return;
  node.replaceChildren("State as of block ", block(asOf.blockNumber), ", mined ", time(asOf.timestamp), ".");
}
