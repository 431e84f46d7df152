// The finished rounds, newest first. The newest 20 live on the feed; older pages are asked for.

import { ask, serverUrl } from "./api.js";
import { verdictBadge } from "./badges.js";
import { byId, fill, foreign, keyed, make, pager, setAttribute, setText, show } from "./dom.js";
import { counted, etherShort, grouped } from "./format.js";
import { reasonWords } from "./round.js";
import { address, setAmount, time } from "./links.js";

const PAGE_LEN = 10;

/** `open(row)` shows everything about a round; `known` is false before the chain was read. */
export function historyView(open) {
  const turner = pager("finished rounds", (page) => {
    shown = page;
    draw();
  });
  byId("history-pager").append(turner.node);
  let current = null;
  let isKnown = false;
  let shown = 0;
  /** Rounds older than those on the feed, with the state they were asked in. */
  let older = { of: null, rounds: [], asking: false, problem: null };

  function draw() {
    const { rounds, summary } = current;
    if (older.of !== current) older = { of: current, rounds: [], asking: false, problem: null };
    const total = Math.max(summary?.totalRounds ?? 0, rounds.length);
    const pages = Math.max(1, Math.ceil(total / PAGE_LEN));
    shown = Math.min(shown, pages - 1);
    const from = shown * PAGE_LEN;
    const to = Math.min(from + PAGE_LEN, total);
    const known = [...rounds, ...older.rounds];
    if (known.length < to) request(known);
    keyed(byId("history-rows"), known.slice(from, to), (round) => `${round.roundId} ${round.transactionHash}`, () => historyRow(open));
    show(byId("history-table"), total > 0);
    show(byId("history-empty"), total === 0);
    if (isKnown) setText(byId("history-empty"), "No round has finished yet.");
    if (summary) setText(byId("history-summary"), total > 0 ? summaryWords(summary) : "");
    turner.update(shown, pages, older.problem ?? `${grouped(from + 1)} to ${grouped(to)} of ${grouped(total)}`);
  }

  async function request(known) {
    const mine = older;
    if (mine.asking || mine.problem) return;
    mine.asking = true;
    try {
      const answer = await ask(`api/history?limit=${PAGE_LEN}&before=${known[known.length - 1].roundId}`);
      mine.rounds = [...mine.rounds, ...answer.rounds];
      if (answer.rounds.length === 0) mine.problem = "No older rounds are kept.";
    } catch (error) {
      mine.problem = error.message;
    }
    mine.asking = false;
    if (mine === older && !document.hidden) draw();
  }

  return (history, known) => {
    [current, isKnown] = [history, known];
    draw();
  };
}

function summaryWords({ totalRounds, completedRounds, refundedRounds, totalVolumeWei }) {
  return `${counted(totalRounds, "round")} kept: ${grouped(completedRounds)} drawn, ${grouped(refundedRounds)} refunded, ${etherShort(totalVolumeWei)} ETH in all`;
}

function historyRow(open) {
  let shown = null;
  const link = make("a", null);
  // A round has a page of its own; opened from here it stays on this one.
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(shown);
  });
  const ended = make("td", { class: "wide" });
  const result = make("td");
  const pot = make("td", { class: "number" });
  const prize = make("td", { class: "number wide" });
  const players = make("td", { class: "number wide" });
  const check = make("td");
  const node = make("tr", null, make("th", { scope: "row" }, link), ended, result, pot, prize, players, check);
  return {
    node,
    update(round) {
      shown = round;
      setText(link, grouped(round.roundId));
      setAttribute(link, "href", serverUrl(`round/${round.roundId}`).href);
      setAttribute(link, "aria-label", `Details of round ${round.roundId}`);
      const won = round.type === "RoundCompleted";
      fill(ended, [round.finishedAt], () => time(round.finishedAt));
      fill(result, [round], () => (won ? address(round.winner) : make("span", { class: "muted clip", title: round.refundReason }, foreign(reasonWords(round)))));
      setAmount(pot, round.totalPotWei);
      setAmount(prize, won ? round.winnerPrizeWei : null);
      setText(players, grouped(round.participantCount));
      fill(check, [round], () => verdictBadge(round));
    },
  };
}
