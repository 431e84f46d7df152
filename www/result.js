// The last draw in full, and word of a refund that came after it.

import { facts, fill, make, setText, show } from "./dom.js";
import { counted, duration, ether, grouped, percent } from "./format.js";
import { address, block, figure, time, transaction } from "./links.js";
import { standingBadge, verdictBadge } from "./badges.js";
import { loadRound, openDetails } from "./details.js";
import { spans } from "./proof.js";
import { finalityOf } from "./state.js";

// Everybody's page learns of a draw at once; the requests for its bets are spread out over this long.
const SPREAD_MS = 4_000;
const byId = (id) => document.getElementById(id);

let drawnFor = null;

export function renderResult({ history, finality }, isFirst) {
  const newest = history.rounds[0] ?? null;
  const won = history.rounds.find((round) => round.type === "RoundCompleted") ?? null;
  const refunded = newest !== null && newest !== won ? newest : null;
  show(byId("result-refund"), refunded !== null);
  if (refunded) setText(byId("result-refund"), `Round ${grouped(refunded.roundId)} came after it and was refunded: ${refunded.refundReason}.`);
  if (won === null) {
    fill(byId("result"), "none", () => make("p", { class: "empty" }, "No draw is among the rounds kept here."));
    return;
  }
  const standing = finalityOf(finality, won.blockNumber);
  fill(byId("result"), `${won.roundId} ${won.transactionHash} ${won.verdict} ${standing}`, () => {
    drawnFor = won.transactionHash;
    const share = make("span", null, "…");
    setTimeout(() => fillShare(won, share), isFirst ? 0 : Math.random() * SPREAD_MS);
    return result(won, standing, share);
  });
}

function result(round, standing, share) {
  const verify = make("button", { type: "button", class: "primary" }, "Verify this draw");
  verify.addEventListener("click", () => openDetails(round.roundId, true));
  return make("div", null,
    make("p", { class: "winner" }, address(round.winner)),
    make("p", { class: "prize" }, `${ether(round.winnerPrizeWei)} ETH`, make("span", { class: "muted" }, ` won in round ${grouped(round.roundId)}`)),
    facts([
      ["Share held", share],
      ["Pot", `${ether(round.totalPotWei)} ETH from ${counted(round.participantCount, "player")}`],
      ["Drawn", make("span", null, time(round.finishedAt), " in block ", block(round.blockNumber))],
      ["Draw delay", drawDelay(round)],
      ["Seed", figure(round.randomSeed)],
      ["Transaction", transaction(round.transactionHash)],
    ]),
    make("div", { class: "actions" }, verify, verdictBadge(round), standingBadge(standing)));
}

/** How long after the window opened the round was drawn. */
function drawDelay(round) {
  if (!round.minDrawTime) return "unknown";
  return `${duration(round.finishedAt - round.minDrawTime)} after the window opened`;
}

async function fillShare(round, node) {
  if (drawnFor !== round.transactionHash) return;
  try {
    const { bets } = await loadRound(round.roundId);
    const held = spans(bets).find(({ player }) => player === round.winner);
    setText(node, held ? `${percent(held.amountWei, round.totalPotWei)} of the pot, ${ether(held.amountWei)} ETH` : "unknown");
  } catch {
    setText(node, "unknown");
  }
}
