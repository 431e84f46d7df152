// What the visitor's own wallet says about a finished round: the contract's logs, the block as the EVM saw it, and the
// contract's word before it. Nothing here comes from this server but the numbers of the block to look at, and those are
// found wrong when the contract's log of the round's end is not there.

import { calldata, decodeBet, decodeCompleted, decodeConfig, decodeRefunded, decodeRound, number, quantity, topicNumber, topicOf, words } from "./abi.js";

/** Returns NUMBER, PREVRANDAO and TIMESTAMP, as the EVM has them; one PREVRANDAO in 256 would be refused as the first (EIP-3541). */
const OPCODES = "0x43600052446020524260405260606000f3";
const CHUNK_BLOCKS = 2_000;
const CHUNKS_MAX = 25;
const LATE_BLOCKS_MAX = 60;

/** Throws an Error in words where the wallet's node does not tell enough. */
export async function witnessOf(wallet, { contract, chainId }, told) {
  const ask = (method, ...params) => wallet.request(method, params);
  const seenChain = Number(number(await ask("eth_chainId")));
  if (seenChain !== chainId) throw new Error(`Your wallet is on chain ${seenChain}, the lottery on chain ${chainId}: switch it first.`);
  const end = await endOf(ask, contract, told);
  const block = await ask("eth_getBlockByNumber", quantity(end.blockNumber), false);
  if (!block) throw new Error("Your wallet's node does not know the draw's block.");
  const configAt = (at) => ask("eth_call", { to: contract, data: calldata("getConfig") }, at).then(decodeConfig);
  const [opcodes, round, config, finality] = await Promise.all([
    opcodesAt(ask, block),
    orNull(ask("eth_call", { to: contract, data: calldata("getRound") }, quantity(end.blockNumber - 1)).then(decodeRound)),
    orNull(configAt(quantity(end.blockNumber)).catch(() => configAt("latest"))),
    finalityOf(ask),
  ]);
  const right = round?.roundId === end.roundId ? round : null;
  return {
    end,
    block,
    opcodes,
    round: right,
    commissionBps: config?.commissionBps ?? null,
    finality,
    bets: await betsOf(ask, contract, end, told),
    delay: right ? await orNull(delayOf(ask, block, Number(right.minDrawTime))) : null,
  };
}

const orNull = (promise) => promise.catch(() => null);

/** The contract's log of the round's end, where the server says it is or in the blocks around. */
async function endOf(ask, contract, told) {
  const find = async (fromBlock, toBlock) => {
    const topics = [[topicOf("RoundCompleted"), topicOf("RoundRefunded")], topicNumber(told.roundId)];
    const logs = await ask("eth_getLogs", { address: contract, fromBlock: quantity(fromBlock), toBlock: quantity(toBlock), topics });
    return Array.isArray(logs) && logs.length > 0 ? logs[0] : null;
  };
  const at = Number(told.blockNumber);
  const head = Number(number(await ask("eth_blockNumber")));
  const log = (await orNull(find(at, at))) ?? (await find(Math.max(0, Math.min(at, head) - CHUNK_BLOCKS), head).catch(() => null));
  if (!log) throw new Error(`Your wallet's node knows no end of round ${told.roundId}: either it lags, or this server's word is not the chain's.`);
  return log.topics[0].toLowerCase() === topicOf("RoundCompleted") ? decodeCompleted(log) : decodeRefunded(log);
}

async function opcodesAt(ask, block) {
  const call = { data: OPCODES };
  const answer = await orNull(ask("eth_call", call, { blockHash: block.hash })) ?? await orNull(ask("eth_call", call, block.number));
  if (answer === null) return null;
  const [blockNumber, prevrandao, timestamp] = words(answer, 3);
  return { prevrandao, number: blockNumber, timestamp };
}

/** The round's bets, backwards from its end until they make the pot. */
async function betsOf(ask, contract, end, told) {
  const first = Math.min(...told.bets.map(({ blockNumber }) => Number(blockNumber)), end.blockNumber);
  let [to, bets, sum] = [end.blockNumber, [], 0n];
  for (let chunk = 0; chunk < CHUNKS_MAX && sum < end.totalPotWei && to >= 0; chunk++) {
    const from = Math.max(0, chunk === 0 && first >= to - CHUNK_BLOCKS ? first : to - CHUNK_BLOCKS);
    const topics = [topicOf("BetPlaced"), topicNumber(end.roundId)];
    const logs = await ask("eth_getLogs", { address: contract, fromBlock: quantity(from), toBlock: quantity(to), topics });
    bets = [...logs.map(decodeBet), ...bets];
    sum = bets.reduce((total, { amountWei }) => total + amountWei, 0n);
    to = from - 1;
  }
  return bets.sort((a, b) => a.blockNumber - b.blockNumber || a.logIndex - b.logIndex);
}

/** From the first block that allowed the draw to the one that has it: {blocks, seconds}; null beyond what is worth asking. */
async function delayOf(ask, drawn, minDrawTime) {
  const drawnAt = Number(number(drawn.number));
  let first = drawn;
  for (let blocks = 0; blocks < LATE_BLOCKS_MAX; blocks++) {
    const before = await ask("eth_getBlockByNumber", quantity(drawnAt - blocks - 1), false);
    if (!before || Number(number(before.timestamp)) < minDrawTime) return { blocks, seconds: Number(number(drawn.timestamp) - number(first.timestamp)) };
    first = before;
  }
  return null;
}

async function finalityOf(ask) {
  const at = async (tag) => orNull(ask("eth_getBlockByNumber", tag, false).then((block) => Number(number(block.number))));
  return { safe: await at("safe"), finalized: await at("finalized") };
}
