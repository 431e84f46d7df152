// The first screen: the moment in words, the countdown on chain time, the pot, the strip, and what can be done about it.

import { button, byId, fill, keyed, make, setAttribute, setText, show } from "./dom.js";
import { counted, countdown, duration, ether, etherShort, grouped } from "./format.js";
import { time } from "./links.js";
import { delayWords, heldUpWords, pointOf, progressOf, wordsOf } from "./round.js";
import { describeStrip, layout, pointInside, stripView } from "./strip.js";

const NAME = "Lottery";
/** Longer texts are set smaller; the server measures with the same. */
const LONG_POT = 11;
const LONG_CLOCKS = [5, 6, 8];
let strip = null;
let stripOf = {};
let spokenFor = "";

export function setUpHero() {
  strip = stripView(byId("strip"));
}

/** Everything but what moves with the clock. `actions` are [{key, words, primary, act}]; `known` as wordsOf takes it. */
export function renderHero({ state, moment, now, known, actions }) {
  const words = wordsOf(moment, state, known);
  setAttribute(byId("round"), "data-phase", moment.kind);
  setText(byId("kicker"), words.kicker);
  setText(byId("big"), words.big ?? "");
  show(byId("big"), words.big !== null);
  show(byId("countdown"), words.big === null);
  setAttribute(byId("big"), "title", moment.finished?.winner && moment.kind === "drawn" ? moment.finished.winner : null);
  setText(byId("line"), words.line);
  const pot = words.pot === null ? "" : `${etherShort(words.pot)} ETH`;
  show(byId("pot"), pot !== "");
  setText(byId("pot"), pot);
  setAttribute(byId("pot"), "title", pot && `${ether(words.pot)} ETH`);
  setAttribute(byId("pot"), "data-long", pot.length > LONG_POT ? "1" : null);
  setText(byId("pot-line"), words.potLine);
  const { round, config, operator } = state;
  fill(byId("note"), [moment.kind, moment.finished, round?.endTime, round?.maxDrawTime, config?.minParticipants, operator?.heldUpBy], () => note(moment, state));
  keyed(byId("hero-actions"), actions, ({ key }) => key, actionRow);
  speak(moment, words, state, now);
  setIcon(moment.kind);
}

function actionRow({ primary }) {
  let current = null;
  const node = button("", { class: primary ? "primary" : null }, () => current());
  return {
    node,
    update({ words, act }) {
      current = act;
      setText(node, words);
    },
  };
}

/** What happens next if nothing is done, with its time. */
function note({ kind, finished }, { round, config, operator }) {
  if (kind === "betting") {
    const few = config ? `With fewer than ${grouped(config.minParticipants)} players` : "With too few players";
    return make("span", null, "Closes at ", time(round.endTime), ". ", few, ", or if nobody draws by ", time(round.maxDrawTime), ", everyone is paid back.");
  }
  if (kind === "closed" || kind === "draw_window") return make("span", null, "If nobody draws by ", time(round.maxDrawTime), ", everyone is paid back.", heldUpWords(operator?.heldUpBy));
  if (kind === "locked") return make("span", null, "The draw window closed at ", time(round.maxDrawTime), ". Anyone may try to return all bets: it passes once everybody can be paid.");
  if (kind === "overdue") return make("span", null, "The draw window closed at ", time(round.maxDrawTime), ". Anyone with a wallet may now return all bets; it costs only the fee.");
  if (kind === "drawn") {
    return make("span", null, "Drawn at ", time(finished.finishedAt), `${delayWords(finished)}, from ${etherShort(finished.totalPotWei)} ETH of ${counted(finished.participantCount, "player")}.`, heldUpWords(finished.drawDelayReason));
  }
  if (kind === "refunded") return make("span", null, "Paid back at ", time(finished.finishedAt), ".");
  if (kind === "waiting" && finished) return make("span", null, `Above: the pot of round ${grouped(finished.roundId)}, which ended at `, time(finished.finishedAt), ".");
  return make("span", null, "\u00a0");
}

/** What moves with the clock; `now` is chain time in seconds, or null. */
export function renderClock({ state, moment, now, me }) {
  const clock = byId("countdown");
  const text = clockText(moment.clock, now);
  setText(clock, text);
  setAttribute(clock, "data-long", LONG_CLOCKS.filter((length) => text.length > length).length || null);
  const share = progressOf(moment.kind, state.round, now);
  byId("progress").style.transform = `scaleX(${share.toFixed(4)})`;
  const title = titleOf(moment, text, me);
  if (document.title !== title) document.title = title;
}

function clockText(clock, now) {
  if (!clock || now === null) return "–";
  if (clock.until) return countdown(clock.until - Math.floor(now));
  return `+${countdown(Math.floor(now) - clock.since)}`;
}

const TITLES = { betting: "to bet", closed: "to the draw", draw_window: "drawing", overdue: "late", locked: "locked", stuck: "stuck", waiting: "waiting for a bet", refunded: "refunded", unknown: "" };

function titleOf({ kind, roundId, finished, clock }, text, me) {
  const name = roundId === null ? NAME : `${NAME} ${grouped(roundId)}`;
  if (kind === "drawn") return `${finished.winner.toLowerCase() === me ? "You" : `${finished.winner.slice(0, 6)}…`} won ${etherShort(finished.winnerPrizeWei)} · ${name}`;
  if (clock) return `${text} ${TITLES[kind]} · ${name}`;
  return TITLES[kind] ? `${TITLES[kind]} · ${name}` : name;
}

/** Each change of the moment is said once to those who listen instead of looking. */
function speak(moment, words, { round }, now) {
  const key = `${moment.kind} ${moment.roundId}`;
  if (key === spokenFor) return;
  const isFirst = spokenFor === "";
  spokenFor = key;
  const big = words.big?.replace("\n", " ");
  const pot = words.pot === null ? "" : `${etherShort(words.pot)} ETH, `;
  const said = {
    betting: `${words.kicker}. Betting closes in ${duration((round?.endTime ?? 0) - (now ?? 0))}.`,
    closed: `${words.kicker}. The draw comes next.`,
    draw_window: `${words.kicker}.`,
    overdue: `${words.kicker}. Nobody can win it any more: every bet goes back.`,
    drawn: `${words.kicker}. ${big}: ${pot}${words.potLine}. ${words.line}`,
  }[moment.kind] ?? `${words.kicker}. ${big}. ${words.line}`;
  setText(byId("spoken"), isFirst && moment.kind === "unknown" ? "" : said.replace(/\s+/g, " "));
}

const ICON_COLOURS = { betting: "#1c7a57", closed: "#b07d1a", draw_window: "#2a5d9c", drawn: "#1c7a57", overdue: "#a8322a", locked: "#a8322a", stuck: "#a8322a" };

function setIcon(kind) {
  const colour = ICON_COLOURS[kind] ?? "#6b736e";
  const mark = kind === "drawn" ? "<path d='M7 17l6 6 12-14' fill='none' stroke='white' stroke-width='4'/>"
    : ["overdue", "locked", "stuck"].includes(kind) ? "<path d='M16 6v13M16 23v4' stroke='white' stroke-width='4'/>"
      : "<path d='M5 12h7v8H5zM14 12h4v8h-4zM20 12h7v8h-7z' fill='white'/>";
  setAttribute(byId("icon"), "href", `data:image/svg+xml,${encodeURIComponent(`<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'><rect width='32' height='32' rx='8' fill='${colour}'/>${mark}</svg>`)}`);
}

/** `players` are of the round that the strip shows, null where they are not known; `ghost` is a bet not made yet. */
export function renderStrip({ moment, players, total, me, ghost }) {
  if (players === null) return;
  const finished = moment.finished?.type === "RoundCompleted" ? moment.finished : null;
  const key = { players, me, kind: moment.kind, roundId: moment.roundId, wei: total.wei, ghost: ghost?.wei ?? null };
  if (Object.keys(key).every((name) => stripOf[name] === key[name])) return;
  stripOf = key;
  const parts = layout(players, total, ghost);
  const point = finished && parts.length > 0 ? needleOf(finished, parts) : null;
  strip.update({
    parts,
    me,
    totalWei: total.wei,
    needle: moment.kind === "draw_window" ? "runs" : point,
    winner: point === null ? null : finished.winner,
  });
  // What the server has drawn served until here.
  byId("strip").querySelector("svg")?.remove();
  setAttribute(byId("strip"), "aria-label", describeStrip(players, total, me, finished?.winner));
}

function needleOf(row, parts) {
  const pot = Number(row.totalPotWei);
  return pot > 0 ? pointInside(parts, row.winner, Number(pointOf(row)) / pot) : null;
}

/** How the page stands to the server and the chain; `age` is how long ago the server last spoke, in seconds. */
export function renderLink({ kind, words, age, asOf }) {
  setAttribute(byId("link"), "data-state", kind);
  setText(byId("link-words"), words);
  setAttribute(document.body, "data-fresh", kind === "live" || kind === "polling" ? "yes" : "no");
  const isFresh = kind === "live" || kind === "polling" || age === null;
  const isBehind = (kind === "unreachable" || kind === "syncing") && asOf?.blockNumber;
  setText(byId("age"), isFresh ? "" : isBehind ? `Old news: as of block ${grouped(asOf.blockNumber)}` : `Old news: as of ${duration(age)} ago`);
}

export function renderNotice(text) {
  const notice = byId("notice");
  if (text !== null) setText(notice, text);
  show(notice, text !== null);
}

