// The part of the contract's interface that the page speaks: calls, logs and reverts as hexadecimal text. What a wallet
// or its node answers is not trusted to have the right shape: each reader throws an Error in words. Pure.

import { keccakHex } from "./keccak.js";

const SIGNATURES = {
  placeBet: "placeBet()",
  refundExpiredRound: "refundExpiredRound()",
  withdraw: "withdraw()",
  getRound: "getRound()",
  getConfig: "getConfig()",
  pendingWithdrawals: "pendingWithdrawals(address)",
};
const EVENTS = {
  BetPlaced: "BetPlaced(uint256,address,uint256,uint256,uint256)",
  RoundCompleted: "RoundCompleted(uint256,address,uint256,uint256,uint256,uint256,uint256,uint256)",
  RoundRefunded: "RoundRefunded(uint256,uint256,uint256,string,uint256)",
};
const hashes = new Map();

function hashOf(signature) {
  if (!hashes.has(signature)) hashes.set(signature, keccakHex(signature));
  return hashes.get(signature);
}

/** Calldata of a function without arguments, or with one address. */
export function calldata(name, address = null) {
  const argument = address === null ? "" : address.slice(2).toLowerCase().padStart(64, "0");
  return `0x${hashOf(SIGNATURES[name]).slice(0, 8)}${argument}`;
}

export const topicOf = (event) => `0x${hashOf(EVENTS[event])}`;
export const quantity = (number) => `0x${BigInt(number).toString(16)}`;
export const topicNumber = (number) => `0x${BigInt(number).toString(16).padStart(64, "0")}`;

/** The 32-byte words of `hex` as BigInt. */
export function words(hex, least) {
  if (typeof hex !== "string" || !/^0x([0-9a-f]{64})*([0-9a-f]*)$/i.test(hex)) throw new Error("an answer is not hexadecimal");
  const found = (hex.slice(2).match(/.{64}/g) ?? []).map((word) => BigInt(`0x${word}`));
  if (found.length < least) throw new Error("an answer is too short: is this the lottery's contract?");
  return found;
}

export function number(hex) {
  if (typeof hex !== "string" || !/^0x[0-9a-f]{1,64}$/i.test(hex)) throw new Error("an answer is not a number");
  return BigInt(hex);
}

export const addressOf = (word) => `0x${word.toString(16).padStart(40, "0").slice(-40)}`;

/** getRound(): what the page compares of it. */
export function decodeRound(hex) {
  const [roundId, startTime, endTime, minDrawTime, maxDrawTime, totalPotWei, participantCount, , , , state] = words(hex, 11);
  return { roundId, startTime, endTime, minDrawTime, maxDrawTime, totalPotWei, participantCount, state };
}

/** getConfig(). */
export function decodeConfig(hex) {
  const found = words(hex, 9);
  return { commissionBps: found[2], minBetWei: found[3], minParticipants: found[8] };
}

function logOf(log) {
  return {
    blockNumber: Number(number(log.blockNumber)),
    blockHash: log.blockHash,
    transactionHash: log.transactionHash,
    transactionIndex: Number(number(log.transactionIndex)),
    logIndex: Number(number(log.logIndex)),
  };
}

/** A BetPlaced log. */
export function decodeBet(log) {
  const [amountWei, newTotalWei, timestamp] = words(log.data, 3);
  return { ...logOf(log), player: addressOf(number(log.topics[2])), amountWei, newTotalWei, timestamp };
}

/** A RoundCompleted log. */
export function decodeCompleted(log) {
  const [totalPotWei, participantCount, winnerPrizeWei, publisherCommissionWei, randomSeed, timestamp] = words(log.data, 6);
  const winner = addressOf(number(log.topics[2]));
  return { ...logOf(log), type: "RoundCompleted", roundId: number(log.topics[1]), winner, totalPotWei, participantCount, winnerPrizeWei, publisherCommissionWei, randomSeed, timestamp };
}

/** A RoundRefunded log. */
export function decodeRefunded(log) {
  const [totalPotWei, participantCount, offset, timestamp] = words(log.data, 5);
  return { ...logOf(log), type: "RoundRefunded", roundId: number(log.topics[1]), totalPotWei, participantCount, refundReason: textAt(log.data, Number(offset)), timestamp };
}

/** The string that starts at byte `offset` of ABI-encoded `hex`. */
function textAt(hex, offset) {
  const start = 2 + 2 * offset;
  const length = Number(BigInt(`0x${hex.slice(start, start + 64) || 0}`));
  const digits = hex.slice(start + 64, start + 64 + 2 * Math.min(length, 4096));
  return new TextDecoder().decode(Uint8Array.from(digits.match(/../g) ?? [], (byte) => parseInt(byte, 16)));
}

/** Why a call reverted, as the contract says it; null when the error says nothing of it. */
export function revertReason(error) {
  const datas = [error?.data?.originalError?.data, error?.data?.data, error?.data, error?.error?.data];
  const data = datas.find((candidate) => typeof candidate === "string" && candidate.startsWith("0x08c379a0"));
  if (data) return textAt(`0x${data.slice(10)}`, 32);
  const said = [error?.data?.message, error?.data?.originalError?.message, error?.message].find((text) => /revert/i.test(text ?? ""));
  return /reverted(?: with reason string)?:? *'?"?([^'"]+)/i.exec(said ?? "")?.[1]?.trim() ?? null;
}
