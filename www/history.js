// The finished rounds, newest first. The newest 20 live on the feed; older pages are asked for.

import { ask } from "./api.js";
import { verdictBadge } from "./badges.js";
import { openDetails } from "./details.js";
import { fill, keyed, make, pager, setAttribute, setText, show } from "./dom.js";
import { counted, ether, etherShort, grouped } from "./format.js";
import { address, time } from "./links.js";

const PAGE_LEN = 10;
const byId = (id) => document.getElementById(id);

export function historyView() {
  const turner = pager("finished rounds", (page) => {
    shown = page;
    draw();
  });
  byId("history-pager").append(turner.node);
  let current = null;
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
    keyed(byId("history-rows"), known.slice(from, to), (round) => `${round.roundId} ${round.transactionHash}`, historyRow);
    show(byId("history-table"), total > 0);
    show(byId("history-empty"), total === 0);
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

  return (history) => {
    current = history;
    draw();
  };
}

function summaryWords({ totalRounds, completedRounds, refundedRounds, totalVolumeWei }) {
  return `${counted(totalRounds, "round")} kept: ${grouped(completedRounds)} drawn, ${grouped(refundedRounds)} refunded, ${etherShort(totalVolumeWei)} ETH in all`;
}

function historyRow({ roundId }) {
  const open = make("button", { type: "button", class: "plain", "aria-label": `Details of round ${roundId}` }, grouped(roundId));
  open.addEventListener("click", () => openDetails(roundId, false));
  const ended = make("td", { class: "wide" });
  const result = make("td");
  const pot = make("td", { class: "number" });
  const prize = make("td", { class: "number wide" });
  const players = make("td", { class: "number wide" });
  const check = make("td");
  const node = make("tr", null, make("th", { scope: "row" }, open), ended, result, pot, prize, players, check);
  return {
    node,
    update(round) {
      const won = round.type === "RoundCompleted";
      fill(ended, round.finishedAt, () => time(round.finishedAt));
      fill(result, round.transactionHash, () => (won ? address(round.winner) : make("span", { class: "muted clip", title: round.refundReason }, round.refundReason)));
      amount(pot, round.totalPotWei);
      amount(prize, won ? round.winnerPrizeWei : null);
      setText(players, grouped(round.participantCount));
      fill(check, round.verdict ?? "refunded", () => verdictBadge(round));
    },
  };
}

function amount(cell, wei) {
  setText(cell, wei === null ? "–" : etherShort(wei));
  setAttribute(cell, "title", wei === null ? null : `${ether(wei)} ETH`);
}
