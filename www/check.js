// Draws a finished round again, and compares everything that is shown of it. Pure: `told` is what this server said,
// `witness` what another source (the visitor's wallet) said, or null. A check holds (true), is contradicted (false), or
// could not be made (null); only a contradiction accuses.

import { ether, grouped } from "./format.js";
import { keccak256 } from "./keccak.js";

/** The seed as the contract makes it: keccak256 of five 32-byte big-endian words. */
export function drawSeed({ timestamp, prevrandao, number, roundId, totalPotWei }) {
  const bytes = new Uint8Array(160);
  [timestamp, prevrandao, number, roundId, totalPotWei].forEach((value, index) => bytes.set(word(value), 32 * index));
  return keccak256(bytes).reduce((seed, byte) => (seed << 8n) | BigInt(byte), 0n);
}

function word(value) {
  let rest = BigInt(value);
  if (rest < 0n || rest >> 256n !== 0n) throw new RangeError(`${value} does not fit in 256 bits`);
  const bytes = new Uint8Array(32);
  for (let index = 31; rest > 0n; index--, rest >>= 8n) bytes[index] = Number(rest & 255n);
  return bytes;
}

/** Players in first-bet order with the span [from, to) of the pot that is theirs; bets in chain order. */
export function spans(bets) {
  const totals = new Map();
  for (const { player, amountWei } of bets) {
    const key = player.toLowerCase();
    const known = totals.get(key) ?? { player, amountWei: 0n };
    known.amountWei += BigInt(amountWei);
    totals.set(key, known);
  }
  let running = 0n;
  return [...totals.values()].map(({ player, amountWei }) => {
    const from = running;
    running += amountWei;
    return { player, amountWei, from, to: running };
  });
}

/** The draw once more: {seed, point, players, winner, holder}; `winner` is the index of `holder` in players, -1 where nobody holds the point. */
export function drawAgain(inputs, bets) {
  const pot = BigInt(inputs.totalPotWei);
  const players = spans(bets);
  const seed = drawSeed(inputs);
  const point = pot > 0n ? seed % pot : null;
  const winner = point === null ? -1 : players.findIndex((player) => player.to > point);
  return { seed, point, players, winner, holder: players[winner] };
}

/**
 * {verdict, checks: [{name, holds, text}], draw}: what says most comes first. `verdict` is "holds", "contradicted" or
 * "open"; `draw` is what drawAgain() answers, or null.
 */
export function examine(told, witness, row = null) {
  const checks = [];
  const check = (name, holds, text) => checks.push({ name, holds, text });
  const draw = told.type === "RoundCompleted" ? examineDraw(told, witness, check) : null;
  if (witness) compareBets(told, witness.bets, witness.end, check);
  if (draw) compareProof(told, witness?.end ?? told, draw, check);
  if (witness) compareWithChain(told, witness, check);
  else addUp(told, check);
  if (row) compareWithRow(told, row, check);
  const verdict = checks.some(({ holds }) => holds === false)
    ? "contradicted"
    : checks.some(({ holds }) => holds === null) ? "open" : "holds";
  return { verdict, checks, draw };
}

function examineDraw(told, witness, check) {
  const bets = witness ? witness.bets : told.bets;
  const inputs = drawInputs(told, witness);
  if (!inputs || bets.length === 0) {
    check("The draw, computed again", null, told.verdictWhy ?? "the block's values or the bets are out of reach");
    return null;
  }
  const draw = drawAgain(inputs, bets);
  const truth = witness?.end ?? told;
  const found = draw.holder;
  check("Seed follows from the block", same(draw.seed, truth.randomSeed), against(draw.seed, truth.randomSeed));
  check("Winner follows from the seed", Boolean(found) && same(found.player, truth.winner),
    found ? against(found.player, truth.winner) : "nobody holds that wei");
  if (known(told.drawPoint)) check("Wei that the needle fell on", same(draw.point, told.drawPoint), against(draw.point, told.drawPoint, grouped));
  if (known(told.winnerTotalAmountWei) && found) {
    check("What the winner held", same(found.amountWei, told.winnerTotalAmountWei), against(found.amountWei, told.winnerTotalAmountWei, inEther));
  }
  return draw;
}

/** What this server says of its own calculation. */
function compareProof(told, truth, draw, check) {
  const proof = told.proof ?? {};
  const winner = draw.holder?.player;
  for (const [part, value] of Object.entries({ seed: draw.seed, recomputedSeed: draw.seed, drawPoint: draw.point, winner, recomputedWinner: winner })) {
    const shown = proof[part];
    if (known(shown)) check(`Proof: ${wordsOf(part)}`, same(value, shown), against(value, shown));
  }
  if (known(told.verdict)) {
    const right = same(draw.seed, truth.randomSeed) && same(winner, truth.winner);
    check("This server's own verdict", told.verdict === "unverifiable" ? null : told.verdict === (right ? "verified" : "mismatch"), told.verdict);
    if (known(proof.verdict)) check("Proof: verdict", proof.verdict === told.verdict, proof.verdict);
  }
}

/** The five numbers that were hashed: the wallet's where it could tell them. */
function drawInputs(told, witness) {
  if (!witness) return told.proof?.inputs ?? null;
  if (!witness.opcodes) return null;
  return { ...witness.opcodes, roundId: witness.end.roundId, totalPotWei: witness.end.totalPotWei };
}

/** Without another source: whether the server's figures agree among themselves. */
function addUp(told, check) {
  if (told.bets.length > 0) {
    const players = spans(told.bets);
    const sum = players[players.length - 1].to;
    check("Bets add up to the pot", sum === BigInt(told.totalPotWei), against(sum, told.totalPotWei, inEther));
    check("Players", players.length === Number(told.participantCount), against(players.length, told.participantCount));
  }
  if (told.type !== "RoundCompleted") return;
  const paid = BigInt(told.winnerPrizeWei) + BigInt(told.publisherCommissionWei);
  check("Prize and commission are the pot", paid === BigInt(told.totalPotWei), against(paid, told.totalPotWei));
}

/** Every figure that the page shows of the round, against the contract's own word through the wallet. */
function compareWithChain(told, witness, check) {
  const { end, block, round } = witness;
  const equal = (name, shown, value) => {
    if (known(value)) check(name, same(value, shown), against(value, shown));
    else check(name, null, `${shown}: your wallet's node does not tell`);
  };
  equal("How it ended", told.type, end.type);
  equal("Label", told.stateLabel, end.type === "RoundCompleted" ? "COMPLETED" : "REFUNDED");
  equal("Round", told.roundId, end.roundId);
  equal("Pot", told.totalPotWei, end.totalPotWei);
  equal("Players", told.participantCount, end.participantCount);
  equal("Block", told.blockNumber, end.blockNumber);
  equal("Transaction", told.transactionHash, end.transactionHash);
  equal("Position of its log", told.logIndex, end.logIndex);
  equal("Moment of the end", told.finishedAt, block.timestamp);
  for (const [name, key] of [["Winner", "winner"], ["Prize", "winnerPrizeWei"], ["Commission", "publisherCommissionWei"], ["Seed", "randomSeed"], ["Reason of the refund", "refundReason"]]) {
    if (known(end[key])) equal(name, told[key], end[key]);
    else if (known(told[key])) check(name, false, `shown ${told[key]}, the contract says nothing of the kind`);
  }
  for (const [name, key] of [["Start", "startTime"], ["End of betting", "endTime"], ["Draw window opens", "minDrawTime"], ["Draw window closes", "maxDrawTime"]]) {
    equal(name, told[key], round?.[key]);
  }
  if (end.type === "RoundCompleted") compareDraw(told, witness, check, equal);
  else compareRefund(told, witness, check);
  compareFinality(told, witness, check);
}

function compareDraw(told, { end, block, commissionBps, opcodes, delay }, check, equal) {
  const commission = known(commissionBps) ? (BigInt(end.totalPotWei) * BigInt(commissionBps)) / 10000n : null;
  equal("Commission by its rate", told.publisherCommissionWei, commission);
  check("Prize and commission are the pot", same(BigInt(end.winnerPrizeWei) + BigInt(end.publisherCommissionWei), end.totalPotWei), String(end.totalPotWei));
  for (const [name, shown] of [["Delay of the draw", told], ["Proof: delay of the draw", told.proof ?? {}]]) {
    if (known(shown.drawDelaySeconds)) equal(`${name}, seconds`, shown.drawDelaySeconds, delay?.seconds);
    if (known(shown.drawDelayBlocks)) equal(`${name}, blocks`, shown.drawDelayBlocks, delay?.blocks);
  }
  const inputs = told.proof?.inputs;
  if (!inputs) return;
  for (const part of ["timestamp", "prevrandao", "number"]) equal(`Proof: ${part}`, inputs[part], opcodes?.[part]);
  for (const [name, source, places, value] of [
    ["Proof: where prevrandao stood", inputs.prevrandaoSource, { opcode: opcodes?.prevrandao, mixHash: block.mixHash, difficulty: block.difficulty }, inputs.prevrandao],
    ["Proof: where the number stood", inputs.numberSource, { opcode: opcodes?.number, number: block.number, l1BlockNumber: block.l1BlockNumber }, inputs.number],
  ]) {
    if (known(source)) check(name, source in places && !known(places[source]) ? null : same(places[source], value), source);
  }
  equal("Proof: round", inputs.roundId, end.roundId);
  equal("Proof: pot", inputs.totalPotWei, end.totalPotWei);
}

const OF_A_DRAW = ["drawDelaySeconds", "drawDelayBlocks", "winnerTotalAmountWei", "drawPoint", "proof"];

function compareRefund(told, { end, bets }, check) {
  const players = spans(bets);
  const right = players.length === Number(end.participantCount) && (players.at(-1)?.to ?? 0n) === BigInt(end.totalPotWei);
  if (known(told.verdict)) check("This server's own verdict", told.verdict === "unverifiable" ? null : told.verdict === (right ? "verified" : "mismatch"), told.verdict);
  const wrong = OF_A_DRAW.find((part) => known(told[part]));
  check("Nothing of a draw", wrong === undefined, wrong ?? "nothing");
}

const BET_PARTS = ["player", "amountWei", "timestamp", "blockNumber", "transactionHash", "logIndex"];

function compareBets(told, bets, end, check) {
  const sum = bets.reduce((total, bet) => total + BigInt(bet.amountWei), 0n);
  check("The chain's bets add up to the pot", sum === BigInt(end.totalPotWei), against(sum, end.totalPotWei, inEther));
  const wrong = told.bets.findIndex((bet, index) =>
    bets[index] === undefined || BET_PARTS.some((part) => known(bet[part]) && !same(bet[part], bets[index][part])));
  const agrees = wrong < 0 && told.bets.length === bets.length;
  check("Every bet, in its order", agrees,
    agrees ? `${bets.length} bets` : wrong < 0 ? `${told.bets.length} shown, ${bets.length} on the chain` : `bet ${wrong + 1} differs`);
}

const SETTLED = ["latest", "safe", "finalized"];

/** A wallet's node may know of less finality than this server; that alone is no lie. */
function compareFinality(told, { end, finality }, check) {
  const blocks = [[told, end], ...told.bets.map((bet) => [bet, bet])];
  const shaky = blocks.find(([shown, { blockNumber }]) => known(shown.finality) && !isSettled(shown.finality, blockNumber, finality));
  check("How settled it is", shaky ? null : true, shaky ? `shown as ${shaky[0].finality}, your wallet's node does not say so (yet)` : told.finality ?? "not shown");
}

function isSettled(label, blockNumber, { safe, finalized }) {
  const level = SETTLED.indexOf(label);
  if (level < 0) return false;
  if (level === 0) return true;
  return known(level === 1 ? safe : finalized) && blockNumber <= (level === 1 ? safe : finalized);
}

/** Not of the round itself. */
const ROW_ASIDES = ["verdictWhy", "finality"];

/** What the list and the hero show comes another way than the round's details: both have to say the same. */
function compareWithRow(told, row, check) {
  const differs = Object.keys(row).find((part) => !ROW_ASIDES.includes(part)
    && (known(row[part]) !== known(told[part]) || (known(row[part]) && !same(row[part], told[part]))));
  check("The list of rounds says the same", differs === undefined, differs === undefined ? "each figure" : `${differs}: ${row[differs]} there, ${told[differs]} here`);
}

const known = (value) => value !== undefined && value !== null;

/** Numbers by value, however they are written; texts by letter, hexadecimal ones in either case. */
export function same(one, other) {
  if (!known(one) || !known(other)) return false;
  const [left, right] = [numeric(one), numeric(other)];
  if (left !== null && right !== null) return left === right;
  return String(one) === String(other);
}

function numeric(value) {
  if (typeof value === "bigint") return value;
  return /^(\d+|0x[0-9a-f]+)$/i.test(String(value)) ? BigInt(value) : null;
}

const wordsOf = (name) => name.replace(/[A-Z]/g, (sign) => ` ${sign.toLowerCase()}`);
const inEther = (wei) => `${ether(wei)} ETH`;

function against(computed, shown, write = String) {
  return same(computed, shown) ? write(computed) : `should be ${computed}, shown is ${shown}`;
}
