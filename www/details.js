// The dialog with everything about one finished round, and the check of it: with what this server told, or through the
// visitor's own wallet, which is the one that proves something.

import { ask, serverUrl } from "./api.js";
import { badge, verdictBadge } from "./badges.js";
import { examine } from "./check.js";
import { button, byId, copyBy, facts, foreign, keyed, make, pager, setAttribute, setText } from "./dom.js";
import { counted, grouped, percent } from "./format.js";
import { address, amount, block, figure, setAmount, time, transaction } from "./links.js";
import { delayWords, heldUpWords, reasonWords } from "./round.js";
import { witnessOf } from "./witness.js";

const PAGE_LEN = 10;
/** Checks that hold and are shown at once; the others are unfolded. */
const SHOWN_LEN = 6;
let opened = null;
let asks = null;

/** `deps` are {wallet, deployment(), connect()}. */
export function setUpDetails(deps) {
  asks = deps;
  const dialog = byId("details");
  byId("details-close").addEventListener("click", () => dialog.close());
  // A click on the backdrop is a click on the dialog itself, outside its content.
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  // The word of a closing comes later: the dialog may be open again by then.
  dialog.addEventListener("close", () => {
    if (!dialog.open) opened = null;
  });
}

/** `row` is what the page shows of the round, compared too; null for a round that is not listed. */
export async function openDetails(roundId, row, checkNow) {
  opened = roundId;
  setText(byId("details-title"), `Round ${grouped(roundId)}`);
  byId("details-body").replaceChildren(make("p", { class: "empty" }, "Asking the server…"));
  if (!byId("details").open) byId("details").showModal();
  let content;
  try {
    content = details(await ask(`api/history/${roundId}`), row, checkNow);
  } catch (error) {
    content = make("p", { class: "aside" }, `This round cannot be shown: ${error.message}`);
  }
  if (opened === roundId) byId("details-body").replaceChildren(content);
}

function details(told, row, checkNow) {
  const won = told.type === "RoundCompleted";
  const check = checking(told, row, checkNow);
  const rest = facts([
    ["Outcome", verdictBadge(told)],
    ["Winner", won ? address(told.winner) : null],
    ["Held", won && told.winnerTotalAmountWei ? `${percent(told.winnerTotalAmountWei, told.totalPotWei)} of the pot` : null],
    ["Prize", won ? amount(told.winnerPrizeWei) : null],
    ["Commission", won ? amount(told.publisherCommissionWei) : null],
    ["Reason", won ? null : foreign(reasonWords(told))],
    ["Pot", make("span", null, amount(told.totalPotWei), ` of ${counted(told.participantCount, "player")}`)],
    ["Betting", span(told.startTime, told.endTime)],
    ["Draw window", span(told.minDrawTime, told.maxDrawTime)],
    ["Ended", make("span", null, time(told.finishedAt), delayWords(told), " · block\u00a0", block(told.blockNumber), heldUpWords(told.drawDelayReason))],
    ["Transaction", transaction(told.transactionHash)],
  ]);
  // Whoever asked for the check sees it first.
  return make("div", null, ...(checkNow ? [check, rest, shareLine(told.roundId)] : [rest, shareLine(told.roundId), check]));
}

function span(from, to) {
  return from ? make("span", null, time(from), " to ", time(to)) : "unknown";
}

function shareLine(roundId) {
  const url = serverUrl(`round/${roundId}`).href;
  const link = make("a", { href: url }, url);
  const words = "Copy link";
  const copy = button(words, null, () => copyBy(copy, words, url, link));
  return make("p", { class: "share-line" }, link, copy);
}

function checking(told, row, now) {
  const outcome = make("div", { role: "status", class: "check-outcome" });
  const won = told.type === "RoundCompleted";
  const byServer = button("Compute it from this server's figures", null, () => outcome.replaceChildren(report(told, null, row)));
  const byWallet = button("Check through my wallet", { class: "primary" }, async () => {
    if (asks.wallet.account === null) {
      outcome.replaceChildren(make("p", { class: "aside" }, "No wallet is connected. Connect one and check again: block, logs and the contract's word then come from your wallet's node, not from this server. ",
        button("Connect a wallet", { class: "plain" }, () => {
          byId("details").close();
          asks.connect();
        })));
      return;
    }
    outcome.replaceChildren(make("p", null, "Asking your wallet's node…"));
    try {
      const witness = await witnessOf(asks.wallet, asks.deployment(), told);
      outcome.replaceChildren(report(told, witness, row));
    } catch (error) {
      outcome.replaceChildren(make("p", { class: "aside" }, foreign(error.message)));
    }
  });
  if (now) (asks.wallet.account === null ? byServer : byWallet).click();
  return make("section", { class: "verification", "aria-label": "Check of the round" },
    make("h3", null, won ? "Check this draw" : "Check this refund"),
    make("div", { class: "actions" }, byWallet, byServer), outcome);
}

const VERDICTS = {
  holds: ["badge good", "✓", "everything holds"],
  contradicted: ["badge bad", "✕", "contradicted"],
  open: ["badge warn", "?", "holds as far as it could be checked"],
};
const MARKS = new Map([[true, ["✓", "holds"]], [false, ["✕", "does not hold"]], [null, ["?", "could not be checked"]]]);

function report(told, witness, row) {
  let result;
  try {
    result = examine(told, witness, row);
  } catch (error) {
    return make("p", { class: "aside" }, foreign(`These figures cannot be computed with: ${error.message}`));
  }
  const source = witness
    ? make("p", { class: "source" }, "Checked against the chain, as your wallet's node tells it, for the contract ", address(asks.deployment().contract), ". Make sure that this is the contract you know.")
    : make("p", { class: "source" }, "Computed from what this server told: it shows that the figures agree among themselves, not that they are the chain's. Check through a wallet to know.");
  return make("div", { "data-verdict": result.verdict }, badge(...VERDICTS[result.verdict]), source,
    ...listed(result.checks),
    ...(result.draw?.holder ? [standing(told, witness, result.draw)] : []));
}

function listed(checks) {
  const sorted = [...checks].sort(byGravity);
  const shown = sorted.filter(({ holds }) => holds !== true).length + SHOWN_LEN;
  const list = (part) => make("ul", { class: "checks" }, ...part.map(({ name, holds, text }) => {
    const [mark, words] = MARKS.get(holds);
    return make("li", { "data-holds": String(holds) }, make("span", { class: "check-mark", "aria-hidden": "true" }, mark),
      make("span", null, make("strong", null, name), make("span", { class: "visually-hidden" }, ` ${words}: `), make("span", { class: "muted breakable" }, foreign(text))));
  }));
  const rest = sorted.slice(shown);
  const summary = make("summary", null, `${counted(rest.length, "more figure")} compared: no difference`);
  return [list(sorted.slice(0, shown)), ...(rest[0] ? [make("details", null, summary, list(rest))] : [])];
}

/** What does not hold comes first. */
const byGravity = (a, b) => gravity(a) - gravity(b);
const gravity = ({ holds }) => (holds === false ? 0 : holds === null ? 1 : 2);

/** The inputs of the draw, and the players in first-bet order, opened at the winner's page. */
function standing(told, witness, { players, winner, seed, point }) {
  const inputs = witness?.opcodes ?? told.proof.inputs;
  const body = make("tbody");
  const turner = pager("players in first-bet order", draw);
  const pages = Math.ceil(players.length / PAGE_LEN);
  function draw(page) {
    const from = page * PAGE_LEN;
    const rows = players.slice(from, from + PAGE_LEN).map((player, index) => ({ ...player, index: from + index }));
    keyed(body, rows, (row) => row.player, () => standingRow(winner, told.totalPotWei));
    turner.update(page, pages, `${grouped(from + 1)} to ${grouped(from + rows.length)} of ${grouped(players.length)}`);
  }
  draw(Math.floor(winner / PAGE_LEN));
  return make("div", null,
    facts([
      ["Timestamp", figure(inputs.timestamp)],
      ["Prevrandao", figure(typeof inputs.prevrandao === "bigint" ? `0x${inputs.prevrandao.toString(16).padStart(64, "0")}` : inputs.prevrandao)],
      ["Block number", figure(inputs.number)],
      ["Seed", figure(seed)],
      ["Seed mod pot", make("span", null, `wei ${grouped(point)}`)],
    ]),
    make("table", { class: "list" },
      make("caption", { class: "muted" }, "Players in the order of their first bets"),
      make("thead", null, make("tr", null,
        make("th", { scope: "col" }, "No."), make("th", { scope: "col" }, "Player"),
        make("th", { scope: "col", class: "number" }, "Bets, ETH"), make("th", { scope: "col", class: "number" }, "Share"))),
      body),
    turner.node);
}

function standingRow(winner, potWei) {
  const order = make("td", { class: "muted" });
  const who = make("td");
  const held = make("td", { class: "number" });
  const share = make("td", { class: "number" });
  const node = make("tr", null, order, who, held, share);
  return {
    node,
    update(row) {
      setAttribute(node, "class", row.index === winner ? "hit" : null);
      setText(order, row.index === winner ? `★ ${row.index + 1}` : String(row.index + 1));
      who.replaceChildren(address(row.player));
      setAmount(held, row.amountWei);
      setText(share, percent(row.amountWei, potWei));
    },
  };
}
