// The dialog with everything about one finished round, and the recomputation of its draw in the visitor's browser.

import { ask } from "./api.js";
import { badge, verdictBadge } from "./badges.js";
import { facts, fill, keyed, make, pager, setAttribute, setText } from "./dom.js";
import { ether, etherShort, grouped, percent } from "./format.js";
import { address, block, figure, time, transaction } from "./links.js";
import { recompute } from "./proof.js";

const PAGE_LEN = 10;
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

export const loadRound = (roundId) => ask(`api/history/${roundId}`);

let opened = null;

export function setUpDetails() {
  const dialog = byId("details");
  byId("details-close").addEventListener("click", () => dialog.close());
  // A click on the backdrop is a click on the dialog itself, outside its content.
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => (opened = null));
}

export async function openDetails(roundId, verifyNow) {
  opened = roundId;
  setText(byId("details-title"), `Round ${grouped(roundId)}`);
  byId("details-body").replaceChildren(make("p", { class: "empty" }, "Asking the server…"));
  byId("details").showModal();
  let content;
  try {
    content = details(await loadRound(roundId), verifyNow);
  } catch (error) {
    content = make("p", { class: "aside" }, `This round cannot be shown: ${error.message}`);
  }
  if (opened === roundId) byId("details-body").replaceChildren(content);
}

function details(round, verifyNow) {
  const won = round.type === "RoundCompleted";
  const node = make("div", null, facts([
    ["Outcome", verdictBadge(round)],
    ["Winner", won ? address(round.winner) : null],
    ["Prize", won ? `${ether(round.winnerPrizeWei)} ETH` : null],
    ["Commission", won ? `${ether(round.publisherCommissionWei)} ETH` : null],
    ["Reason", won ? null : round.refundReason],
    ["Pot", `${ether(round.totalPotWei)} ETH`],
    ["Players", grouped(round.participantCount)],
    ["Betting", span(round.startTime, round.endTime)],
    ["Draw window", span(round.minDrawTime, round.maxDrawTime)],
    ["Ended", make("span", null, time(round.finishedAt), " in block ", block(round.blockNumber))],
    ["Transaction", transaction(round.transactionHash)],
  ]));
  if (won) node.append(verification(round, verifyNow));
  return node;
}

function span(from, to) {
  return from ? make("span", null, time(from), " to ", time(to)) : "unknown";
}

function verification(round, now) {
  const node = make("section", { class: "verification" }, make("h3", null, "Recompute the draw"));
  const { inputs } = round.proof ?? {};
  if (!inputs || round.bets.length === 0) {
    node.append(make("p", null, `This server cannot hand out what the recomputation needs: ${round.verdictWhy ?? "the bets are out of its reach"}. The program's own “lottery verify ${round.roundId}” reads it from the chain.`));
    return node;
  }
  const button = make("button", { type: "button", class: "primary" }, "Recompute in this browser");
  const outcome = make("div", { role: "status" });
  const run = () => {
    button.remove();
    outcome.replaceChildren(report(round, inputs));
  };
  button.addEventListener("click", run);
  node.append(button, outcome);
  if (now) run();
  return node;
}

function report(round, inputs) {
  let result;
  try {
    result = recompute({ ...inputs, bets: round.bets }, round);
  } catch (error) {
    return make("p", { class: "aside" }, `The server's figures cannot be computed with: ${error.message}`);
  }
  const node = make("div", null,
    result.verified
      ? badge("badge good", "✓", "your browser agrees with the contract")
      : badge("badge bad", "✕", "the recomputation contradicts the contract"),
    make("ol", { class: "checks" }, ...result.checks.map(({ name, holds, text }) =>
      make("li", null, make("strong", null, `${holds ? "✓" : "✕"} ${name}`), make("span", { class: "muted breakable" }, text)))),
    facts([
      ["Block", make("span", null, block(inputs.number), ", timestamp ", String(inputs.timestamp))],
      ["Prevrandao", figure(inputs.prevrandao)],
      ["Seed mod pot", result.point === null ? "none" : `wei ${grouped(result.point)}`],
    ]));
  if (result.winner >= 0) node.append(strip(result, round.totalPotWei), line(result, round.totalPotWei));
  node.append(make("p", { class: "muted afterword" }, "The figures come from this server. Compare the block's header and the bets with another source to be sure of them, too."));
  return node;
}

/** The pot as one strip, players in first-bet order, with a mark where the seed points. */
function strip({ players, winner, point }, potWei) {
  const along = (wei) => `${Number((BigInt(wei) * 1000000n) / BigInt(potWei)) / 10000}%`;
  const node = svg("svg", { class: "strip", role: "img", "aria-label": `The seed points into player ${winner + 1} of ${players.length}` });
  // Spans thinner than a pixel would only cost; the winner's is always drawn.
  players.forEach(({ from, to }, index) => {
    if (index !== winner && (to - from) * 1000n < BigInt(potWei)) return;
    node.append(svg("rect", { x: along(from), width: along(to - from), y: 8, height: 24, class: index === winner ? "hit" : index % 2 ? "odd" : "even" }));
  });
  node.append(svg("line", { x1: along(point), x2: along(point), y1: 0, y2: 40 }));
  return node;
}

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** The players in first-bet order, opened at the winner's page. */
function line({ players, winner }, potWei) {
  const body = make("tbody");
  const turner = pager("players in first-bet order", draw);
  const pages = Math.ceil(players.length / PAGE_LEN);
  function draw(page) {
    const from = page * PAGE_LEN;
    const rows = players.slice(from, from + PAGE_LEN).map((player, index) => ({ ...player, place: from + index }));
    keyed(body, rows, (row) => row.player, () => lineRow(winner, potWei));
    turner.update(page, pages, `${grouped(from + 1)} to ${grouped(from + rows.length)} of ${grouped(players.length)}`);
  }
  draw(Math.floor(winner / PAGE_LEN));
  return make("div", null,
    make("table", { class: "list" },
      make("caption", { class: "muted" }, "Players in the order of their first bets"),
      make("colgroup", null, make("col", { class: "col-place" }), make("col"), make("col", { class: "col-amount" }), make("col", { class: "col-amount" })),
      make("thead", null, make("tr", null,
        make("th", { scope: "col" }, "#"), make("th", { scope: "col" }, "Player"),
        make("th", { scope: "col", class: "number" }, "Bets, ETH"), make("th", { scope: "col", class: "number" }, "Share"))),
      body),
    turner.node);
}

function lineRow(winner, potWei) {
  const place = make("td", { class: "muted" });
  const who = make("td");
  const amount = make("td", { class: "number" });
  const share = make("td", { class: "number" });
  const node = make("tr", null, place, who, amount, share);
  return {
    node,
    update(row) {
      setAttribute(node, "class", row.place === winner ? "hit" : null);
      setText(place, row.place === winner ? `★ ${row.place + 1}` : String(row.place + 1));
      fill(who, row.player, () => address(row.player));
      setText(amount, etherShort(row.amountWei));
      setAttribute(amount, "title", `${ether(row.amountWei)} ETH`);
      setText(share, percent(row.amountWei, potWei));
    },
  };
}
