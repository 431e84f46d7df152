// Puts the page together: the feed feeds the state, and once a frame the parts whose state changed are drawn. Nothing is
// drawn and no clock ticks while nobody looks.

import { ask, serverUrl } from "./api.js";
import { betForm, setUpPhone } from "./bet.js";
import { chainClock } from "./clock.js";
import { calldata, words } from "./abi.js";
import { openDetails, setUpDetails } from "./details.js";
import { byId, copyText, isSame } from "./dom.js";
import { renderFairness } from "./fairness.js";
import { connectFeed } from "./feed.js";
import { duration, etherShort, grouped, localTime } from "./format.js";
import { renderClock, renderHero, renderLink, renderNotice, renderStrip, setUpHero } from "./hero.js";
import { historyView } from "./history.js";
import { setExplorer, setUpTimes } from "./links.js";
import { renderFeed, setUpLive } from "./live.js";
import { renderOperator } from "./operator.js";
import { playersView } from "./players.js";
import { momentOf, phaseOf } from "./round.js";
import { apply, EMPTY, fromAnswers, player, withPlayers } from "./state.js";
import { findPlayer } from "./strip.js";
import { renderAsOf, renderTerms } from "./terms.js";
import { tracker } from "./track.js";
import { spans } from "./check.js";
import { walletOf } from "./wallet.js";

/** Live means a message within so long; the server speaks every 15 s. */
const LIVE_MS = 20_000;
const CHAIN_TIME_MS_MIN = 5_000;
/** Pages of 1,000 players that are asked for beyond those on the feed. */
const PLAYER_PAGES_MAX = 5;
const PLAYERS_PAGE_LEN = 1_000;
/** The wall clock and the monotonic one disagree by so much, or a second took so long: the machine has slept. */
const SLEPT_MS = 5_000;
const ROUNDS_KEPT = 4;
/** What is not drawn within so long waits for the next frame: an answer of the visitor's is not kept waiting. */
const FRAME_MS = 8;

const clock = chainClock();
const wallet = walletOf(walletChanged);
const sent = tracker(wallet, () => state.finality.finalizedBlock, sentChanged);
const renderPlayers = playersView();
const renderHistory = historyView((row) => openDetails(row.roundId, row, false));

let state = EMPTY;
/** What the parts below the first screen were last drawn for. */
const drawnFor = new Map();
/** Whether the feed delivers; null before the first attempt has ended. */
let live = null;
let lastHeardMs = null;
/** Whether the last answer over HTTP came, where no feed gets through. */
let isPolled = false;
let chainTimeAskedMs = -Infinity;
let frame = 0;
let tick = 0;
let feed = null;
/** The players of rounds, by number: also of the last ones, for the strip that stays. */
let playersOf = new Map();
let playersAsked = "";
const finishedAsked = new Set();
/** The finished round whose page this is, until the visitor leaves it. */
let pinned = null;
/** The number of the round that the address names, until the server has told it; 0 for none. */
let ownRoundId = Number(byId("app").dataset.round) || 0;
let isOwnRoundAsked = false;
let dismissedId = null;
let pendingWei = 0n;
let deployment = deploymentOf(byId("app").dataset);
let form = null;
let fairness = null;
/** The finished rounds as they were when it was asked. */
let fairnessOf = null;

function deploymentOf({ chainId, contract, explorerUrl }) {
  if (!/^0x[0-9a-f]{40}$/i.test(contract ?? "") || !Number(chainId)) return null;
  return { chainId: Number(chainId), contract, explorerUrl: explorerUrl || null };
}

function receive(message) {
  const nowMs = performance.now();
  const before = state;
  const result = apply(state, message);
  state = result.state;
  clock.set(message.payload.chainTime, nowMs);
  heard(before, nowMs);
  return result.whole;
}

function heard(before, nowMs) {
  lastHeardMs = nowMs;
  if (state.asOf?.timestamp && clock.observe(state.asOf, nowMs)) askChainTime();
  if (state.deployment !== before.deployment) moved();
  else if (state.epoch !== before.epoch && before.epoch !== null && !state.deployment) askDeployment();
  if (state.participants !== before.participants) keepPlayers();
  if (state.feed !== before.feed) for (const item of state.feed.slice(0, 20)) sent.hear(item);
  if (state.finality !== before.finality) sent.settle();
  // Prizes and returned bets come without a transaction of one's own.
  if (state.history !== before.history) form.refreshBalance();
  openOwnRound();
  draw();
}

/** A server that has started anew may serve another contract; asked where its snapshot does not say which. */
async function askDeployment() {
  const { address: contract, chainId, explorerUrl } = await ask("api/contract/address").catch(() => ({}));
  if (!contract) return;
  state = { ...state, deployment: { contract, chainId, explorerUrl } };
  moved();
  draw();
}

/** Another contract or chain: nothing that was known of the old one holds any more. */
function moved() {
  const next = state.deployment && deploymentOf(state.deployment);
  if (!next || (deployment && next.contract === deployment.contract && next.chainId === deployment.chainId)) return;
  const isFirst = deployment === null;
  deployment = next;
  scope();
  if (isFirst) return;
  [playersOf, pinned, ownRoundId, dismissedId, pendingWei, fairness] = [new Map(), null, 0, null, 0n, null];
  byId("details").close();
  askFairness();
}

function scope() {
  setExplorer(deployment?.explorerUrl);
  if (deployment) sent.load(`${deployment.chainId} ${deployment.contract.toLowerCase()}`);
}

function keepPlayers() {
  const { roundId, list } = state.participants;
  if (roundId === null) return;
  playersOf.set(roundId, list);
  for (const known of playersOf.keys()) {
    if (playersOf.size > ROUNDS_KEPT && known !== pinned?.roundId) playersOf.delete(known);
  }
}

/** Those whom the feed did not bring, once a round: what they bet from then on comes by the feed. */
async function askPlayers() {
  const { roundId, totalParticipants, list } = state.participants;
  const key = `${state.epoch} ${roundId} ${list.length}`;
  if (list.length >= totalParticipants || playersAsked === key || document.hidden) return;
  playersAsked = key;
  for (let page = 0; page < PLAYER_PAGES_MAX && page * PLAYERS_PAGE_LEN < totalParticipants; page++) {
    try {
      const answer = await ask(`api/round/participants?limit=${PLAYERS_PAGE_LEN}&offset=${page * PLAYERS_PAGE_LEN}`);
      if (answer.roundId !== roundId) return;
      state = withPlayers(state, roundId, answer.participants);
      keepPlayers();
      draw();
    } catch {
      return;
    }
  }
  playersAsked = `${state.epoch} ${roundId} ${state.participants.list.length}`;
}

const playersIn = (bets) => spans(bets).map(({ player: address, amountWei }, order) => player(address, amountWei, order));

/** The players of a finished round that this page did not see itself; asked for once, and only when it is shown. */
async function askFinished(row) {
  if (finishedAsked.has(row.transactionHash)) return;
  finishedAsked.add(row.transactionHash);
  try {
    const { bets } = await ask(`api/history/${row.roundId}`);
    playersOf.set(row.roundId, playersIn(bets));
    draw();
  } catch {
    // The strip stays as the server has drawn it.
  }
}

/** The feed's block times may be old news when they arrive; the daemon itself knows what time it is on the chain. */
async function askChainTime() {
  const askedMs = performance.now();
  if (document.hidden || askedMs - chainTimeAskedMs < CHAIN_TIME_MS_MIN) return;
  chainTimeAskedMs = askedMs;
  try {
    const { chainTime, asOf } = await ask("api/round/status");
    clock.set(chainTime, askedMs, performance.now());
    if (state.asOf && asOf.blockNumber >= state.asOf.blockNumber) state = { ...state, asOf };
  } catch {
    // The feed's times serve until the next occasion.
  }
  draw();
}

/** Where no feed gets through: the same state, asked for. */
async function poll() {
  const askedMs = performance.now();
  isPolled = false;
  const status = await ask("api/status");
  clock.set(status.chain.chainTime, askedMs, performance.now());
  const isNew = status.asOf.blockHash !== state.asOf?.blockHash;
  const [participants, activities, config] = await Promise.all([
    isNew ? ask(`api/round/participants?limit=${PLAYERS_PAGE_LEN}`) : null,
    isNew ? ask("api/activities?limit=50") : null,
    state.config ? null : ask("api/contract/config").catch(() => null),
  ]);
  const before = state;
  state = fromAnswers(state, { status, participants, activities, config });
  isPolled = true;
  heard(before, performance.now());
}

async function askFairness() {
  fairnessOf = state.history;
  fairness = await ask("api/fairness").catch(() => null);
  draw();
}

async function askPending() {
  const account = wallet.account;
  if (account === null || !deployment || wallet.chainId !== deployment.chainId) {
    pendingWei = 0n;
    return;
  }
  try {
    const answer = await wallet.request("eth_call", [{ to: deployment.contract, data: calldata("pendingWithdrawals", account) }, "latest"]);
    if (wallet.account === account) [pendingWei] = words(answer, 1);
  } catch {
    pendingWei = 0n;
  }
  draw();
}

function sentChanged() {
  // What was sent by an earlier visit is read before there is a form.
  form?.refreshBalance();
  draw();
}

let walletSeen = "";

function walletChanged() {
  // The wallet may speak while this file is still being read.
  queueMicrotask(() => {
    const key = `${wallet?.account} ${wallet?.chainId}`;
    if (form === null) return;
    if (key !== walletSeen) {
      walletSeen = key;
      form.refreshBalance();
      askPending();
    }
    draw();
  });
}

function draw() {
  if (!document.hidden && frame === 0) frame = requestAnimationFrame(render);
}

/** Everything that the parts of the page ask about the moment. */
function view() {
  const now = clock.at(performance.now());
  const seconds = now === null ? null : Math.floor(now);
  const { round, participants } = state;
  const phase = round && seconds !== null ? phaseOf(round, seconds) : null;
  const mine = stakeIn(participants.list);
  return {
    state,
    deployment,
    now,
    phase,
    mine,
    potWei: round && phase !== "waiting" ? BigInt(round.totalPotWei) : 0n,
    takesBets: phase === "waiting" || phase === "betting",
    closesIn: phase === "betting" ? round.endTime - seconds : null,
    moment: momentOf(state, seconds, pinned, dismissedId),
  };
}

/** What the connected account has in such a list of players; looked for once a list. */
function stakeIn(list) {
  if (wallet.account === null || !list) return 0n;
  if (stakes.account !== wallet.account) stakes = { account: wallet.account, of: new WeakMap() };
  if (!stakes.of.has(list)) stakes.of.set(list, findPlayer(list, wallet.account)?.wei ?? 0n);
  return stakes.of.get(list);
}

let stakes = { account: null, of: new WeakMap() };

function render() {
  frame = 0;
  const nowMs = performance.now();
  const current = view();
  const { moment, now } = current;

  renderConnection(nowMs);
  if (state.epoch !== null || pinned) {
    const players = playersFor(moment);
    const stake = moment.finished ? stakeIn(playersOf.get(moment.roundId)) : current.mine;
    renderHero({ state, moment, now, known: { me: wallet.account, mine: stake, held: heldBy(moment) }, actions: actionsFor(current) });
    const total = totalFor(moment);
    const ghostWei = moment.kind === "betting" ? form.ghost() : null;
    renderStrip({ moment, players, total, me: wallet.account, ghost: ghostWei ? { address: wallet.account ?? "", wei: ghostWei } : null });
    renderClock({ state, moment, now, me: wallet.account });
  }
  form.render();
  if (state.epoch !== null) {
    renderParts(nowMs + FRAME_MS);
    askPlayers();
  }
  // Asked anew after a round by those who look at it, not by every page.
  if (fairnessOf !== state.history && byId("fairness-title").checkVisibility({ contentVisibilityAuto: true })) askFairness();
  // A new block alone is no message, so the end of syncing may have to be asked for.
  if (live && state.asOf?.syncing) askChainTime();
  schedule(now);
}

/** The parts below the first screen, each with all that it shows; at least one that has changed is drawn. */
function renderParts(untilMs) {
  const parts = [
    [renderPlayers, state.participants, wallet.account, state.round !== null],
    [renderHistory, state.history, state.round !== null],
    [renderOperator, state.operator, state.round],
    [renderTerms, state.config],
    [renderAsOf, state.asOf],
    [renderFairness, fairness],
    // The last, because it measures what it has changed.
    [renderFeed, state.feed, state.finality],
  ];
  for (const [render, ...shown] of parts) {
    if (isSame(drawnFor.get(render), shown)) continue;
    render(...shown);
    drawnFor.set(render, shown);
    if (performance.now() > untilMs) return draw();
  }
}

/** What the winner of the shown round held, in wei; null where it is not known. */
function heldBy({ finished }) {
  if (!finished?.winner) return null;
  if (finished.winnerTotalAmountWei) return BigInt(finished.winnerTotalAmountWei);
  return playersOf.get(finished.roundId)?.find((entry) => entry.address === finished.winner)?.wei ?? null;
}

/** The players of the round that is shown; null where they are not known (yet). */
function playersFor({ kind, roundId, finished }) {
  if (finished) {
    const known = playersOf.get(finished.roundId);
    if (known?.length !== finished.participantCount) askFinished(finished);
    return known ?? null;
  }
  if (kind === "unknown") return null;
  return roundId === state.participants.roundId ? state.participants.list : [];
}

function totalFor({ finished }) {
  if (finished) return { count: finished.participantCount, wei: BigInt(finished.totalPotWei) };
  return { count: state.participants.totalParticipants, wei: BigInt(state.participants.totalAmountWei) };
}

function actionsFor({ moment, phase }) {
  const actions = [];
  const { finished, kind } = moment;
  if (kind === "drawn" || (kind === "waiting" && finished?.type === "RoundCompleted")) {
    actions.push({ key: "check", words: "Check this draw", act: () => openDetails(finished.roundId, pinned ? null : finished, true) });
  }
  if (kind === "refunded") actions.push({ key: "details", words: "Details", act: () => openDetails(finished.roundId, pinned ? null : finished, false) });
  if (finished && kind !== "waiting") actions.push({ key: "share", words: "Share", act: () => share(finished) });
  if (pinned || (finished && phase === "betting")) {
    actions.push({ key: "leave", words: state.round ? `Go to round ${grouped(state.round.roundId)}` : "Go to the running round", act: leave });
  }
  if (phase === "overdue") actions.push({ key: "rescue", words: "Return all bets", primary: true, act: rescue });
  if (pendingWei > 0n) actions.push({ key: "withdraw", words: `Withdraw ${etherShort(pendingWei)} ETH`, primary: true, act: withdraw });
  return actions;
}

function leave() {
  if (pinned || ownRoundId !== 0) history.pushState(null, "", serverUrl("./").href);
  [pinned, ownRoundId] = [null, 0];
  dismiss();
  byId("round").focus({ preventScroll: true });
}

/** The last result makes room for the running round. */
function dismiss() {
  dismissedId = state.history.rounds[0]?.roundId ?? null;
  draw();
}

async function share({ roundId }) {
  const url = serverUrl(`round/${roundId}`).href;
  const said = navigator.share
    ? await navigator.share({ title: `Round ${roundId}`, url }).then(() => "", () => "")
    : (await copyText(url, byId("kicker"))) ? "The link to this round is copied." : "The link cannot be copied here.";
  if (said) form.say("waiting", said);
}

function rescue() {
  if (wallet.account === null) form.openWallets();
  else form.send("refund", { data: calldata("refundExpiredRound") }, "Return of all bets");
}

async function withdraw() {
  const wei = pendingWei;
  await form.send("withdraw", { data: calldata("withdraw") }, `Withdrawal of ${etherShort(wei)} ETH`);
}

function renderConnection(nowMs) {
  const age = lastHeardMs === null ? null : (nowMs - lastHeardMs) / 1000;
  const link = linkState(age);
  renderLink({ ...link, age, asOf: state.asOf });
  renderNotice(noticeOf(link.kind));
}

function linkState(age) {
  const { epoch, asOf, connection } = state;
  if (epoch === null) return { kind: "connecting", words: live === null ? "Connecting…" : "Server unreachable, trying again…" };
  const isFresh = age !== null && age * 1000 < LIVE_MS;
  if (!isFresh || (!live && !isPolled)) return { kind: "reconnecting", words: age === null ? "Reconnecting…" : `Reconnecting, ${duration(age)} old` };
  if (!connection.reachable) return { kind: "unreachable", words: "Chain unreachable" };
  if (asOf === null || asOf.syncing) return { kind: "syncing", words: asOf?.blockNumber ? `Syncing, at block ${grouped(asOf.blockNumber)}` : "Syncing" };
  if (!live) return { kind: "polling", words: "Asking every 5 s: no live feed gets through" };
  return { kind: "live", words: age < 2 ? "Live" : `Live, ${duration(age)} ago` };
}

function noticeOf(kind) {
  const { connection, asOf } = state;
  if (kind === "syncing") return "The server is still reading the chain. What you see may be incomplete.";
  if (kind !== "unreachable") return null;
  const problem = connection.problem ? ` (\u2068${connection.problem}\u2069)` : "";
  const known = asOf?.blockNumber ? ` What you see is as of block ${grouped(asOf.blockNumber)}.` : "";
  return `The server has had no contact with the chain since ${localTime(connection.since, new Date())}${problem}.${known} Bets sent now may still reach the contract; nothing is drawn from here meanwhile.`;
}

/** The next tick comes with the chain's next second; there is none while the tab is hidden. */
function schedule(now) {
  clearTimeout(tick);
  const waitMs = now === null ? 1000 : 1000 * (1 - (now % 1)) + 5;
  if (!document.hidden) tick = setTimeout(draw, waitMs);
}

/** A machine that slept wakes with an open socket that is dead and a clock that stood still. */
function watchSleep() {
  let [wallMs, steadyMs] = [Date.now(), performance.now()];
  setInterval(() => {
    const [wallNow, steadyNow] = [Date.now(), performance.now()];
    const [wall, steady] = [wallNow - wallMs, steadyNow - steadyMs];
    [wallMs, steadyMs] = [wallNow, steadyNow];
    if (Math.abs(wall - steady) < SLEPT_MS && (document.hidden || steady < 60_000)) return;
    lastHeardMs = null;
    chainTimeAskedMs = -Infinity;
    feed.restart();
    draw();
  }, 1000);
}

/** A daemon that has just started may not have the round yet, so whatever it says later is a reason to ask again. */
async function openOwnRound() {
  if (ownRoundId === 0 || isOwnRoundAsked) return;
  const [roundId, asked] = [ownRoundId, state];
  isOwnRoundAsked = true;
  const answer = await ask(`api/history/${roundId}`).then((row) => ({ row }), (error) => ({ error }));
  isOwnRoundAsked = false;
  // The visitor may have left it meanwhile.
  if (ownRoundId !== roundId) return;
  if (answer.row) {
    [pinned, ownRoundId] = [answer.row, 0];
    playersOf.set(roundId, playersIn(pinned.bets));
    form.unsay();
  } else {
    form.say("waiting", `Round ${grouped(roundId)} cannot be shown: ${answer.error.message}`);
    if (state !== asked) openOwnRound();
  }
}

function start() {
  scope();
  setUpHero();
  setUpLive();
  form = betForm({ wallet, tracker: sent, view, changed: draw, placed: dismiss });
  setUpDetails({ wallet, deployment: () => deployment, connect: form.openWallets });
  setUpPhone(draw);
  setUpTimes();
  byId("wallets-close").addEventListener("click", () => byId("wallets").close());
  const url = serverUrl("ws/lottery");
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  feed = connectFeed(url, {
    receive,
    position: () => (state.epoch ? { epoch: state.epoch, seq: state.seq } : null),
    changed(isLive) {
      live = isLive;
      if (isLive) askChainTime();
      draw();
    },
    poll,
  });
  addEventListener("online", feed.hurry);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(tick);
      return;
    }
    feed.hurry();
    if (live) askChainTime();
    askPending();
    draw();
  });
  watchSleep();
  askFairness();
  openOwnRound();
  draw();
}

/** What the server has written is painted before the script begins; a tab that nobody sees paints nothing to wait for. */
function afterFirstPaint(act) {
  if (document.hidden) act();
  else requestAnimationFrame(() => setTimeout(act));
}

afterFirstPaint(start);
