// Puts the page together: the feed feeds the state, and once a frame the parts whose state changed are drawn. Nothing
// is drawn and no clock ticks while nobody looks.

import { ask } from "./api.js";
import { chainClock } from "./clock.js";
import { setUpDetails } from "./details.js";
import { setText } from "./dom.js";
import { connectFeed } from "./feed.js";
import { ether } from "./format.js";
import { historyView } from "./history.js";
import { setExplorer } from "./links.js";
import { renderFeed } from "./live.js";
import { renderOperator } from "./operator.js";
import { participantsView } from "./participants.js";
import { renderResult } from "./result.js";
import { phaseOf } from "./round.js";
import { apply, EMPTY } from "./state.js";
import { renderAsOf, renderClock, renderLink, renderRound } from "./top.js";

const byId = (id) => document.getElementById(id);
const renderParticipants = participantsView();
const renderHistory = historyView();
const clock = chainClock();

const CHAIN_TIME_MS_MIN = 5_000;

let chainTimeAskedMs = -Infinity;
let state = EMPTY;
/** What the document shows: a state and a phase, or null before the first frame. */
let shown = null;
/** Whether the feed delivers; null before the first attempt has ended. */
let live = null;
let lastHeardMs = null;
/** False until it is known whether there is a block explorer to link to. */
let ready = false;
let frame = 0;
let tick = 0;

function receive(message) {
  const nowMs = performance.now();
  const result = apply(state, message);
  state = result.state;
  lastHeardMs = nowMs;
  if (state.asOf && clock.observe(state.asOf, nowMs)) askChainTime();
  draw();
  return result.whole;
}

/** The feed's block times may be old news when they arrive; the daemon itself knows what time it is on the chain. */
async function askChainTime() {
  const askedMs = performance.now();
  if (document.hidden || askedMs - chainTimeAskedMs < CHAIN_TIME_MS_MIN) return;
  chainTimeAskedMs = askedMs;
  try {
    const { chainTime, asOf } = await ask("api/round/status");
    if (chainTime) clock.set(chainTime, askedMs, performance.now());
    if (state.asOf && asOf.blockNumber >= state.asOf.blockNumber) state = { ...state, asOf };
  } catch {
    // The feed's times serve until the next occasion.
  }
  draw();
}

function draw() {
  if (!document.hidden && frame === 0) frame = requestAnimationFrame(render);
}

function render() {
  frame = 0;
  const nowMs = performance.now();
  const now = clock.at(nowMs);
  const phase = state.round && now !== null ? phaseOf(state.round, Math.floor(now)) : null;
  const changed = (part) => shown === null || shown.state[part] !== state[part];

  renderLink(state, live, lastHeardMs === null ? null : nowMs - lastHeardMs);
  if (state.epoch !== null && ready) {
    if (changed("round") || changed("config") || changed("operator") || shown.phase !== phase) renderRound(state, phase);
    if (changed("participants")) renderParticipants(state.participants);
    if (changed("history") || changed("finality")) renderResult(state, shown === null);
    if (changed("history")) renderHistory(state.history);
    if (changed("feed") || changed("finality")) renderFeed(state);
    if (changed("operator")) renderOperator(state);
    if (changed("config")) renderTerms(state.config);
    if (changed("asOf")) renderAsOf(state);
    renderClock(state, phase, now);
    shown = { state, phase };
  }
  // A new block alone is no message, so the end of syncing may have to be asked for.
  if (live && state.asOf?.syncing) askChainTime();
  schedule(now);
}

/** The next tick comes with the chain's next second; there is none while the tab is hidden. */
function schedule(now) {
  clearTimeout(tick);
  const waitMs = now === null ? 1000 : 1000 * (1 - (now % 1)) + 5;
  if (!document.hidden) tick = setTimeout(draw, waitMs);
}

function renderTerms(config) {
  if (config) setText(byId("join-least"), `${ether(config.minBetWei)} ETH`);
}

/** Tried again with each new connection until it succeeds; the rest of the page does not wait for a failure to heal. */
async function loadContract() {
  if (byId("copy").disabled) {
    try {
      const { address, chainId, explorerUrl } = await ask("api/contract/address");
      setExplorer(explorerUrl);
      setText(byId("contract"), address);
      setText(byId("join-chain"), `chain ${chainId}`);
      byId("copy").disabled = false;
    } catch (error) {
      console.warn("the contract's address is not known yet:", error);
    }
  }
  ready = true;
  draw();
}

function setUpCopy() {
  const button = byId("copy");
  const words = button.textContent;
  button.addEventListener("click", async () => {
    const said = (await copied(byId("contract"))) ? "Copied" : "Select and copy it by hand";
    setText(button, said);
    setText(byId("copied"), said);
    setTimeout(() => {
      setText(button, words);
      setText(byId("copied"), "");
    }, 2000);
  });
}

async function copied(node) {
  try {
    await navigator.clipboard.writeText(node.textContent);
    return true;
  } catch {
    // Without https there is no clipboard; the text is at least selected.
    getSelection().selectAllChildren(node);
    return document.execCommand("copy");
  }
}

function start() {
  setUpDetails();
  setUpCopy();
  const address = new URL("ws/lottery", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const feed = connectFeed(address, {
    receive,
    position: () => (state.epoch === null ? null : { epoch: state.epoch, seq: state.seq }),
    changed(isLive) {
      live = isLive;
      if (isLive) {
        askChainTime();
        loadContract();
      }
      draw();
    },
  });
  addEventListener("online", feed.hurry);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(tick);
      return;
    }
    feed.hurry();
    if (live) askChainTime();
    draw();
  });
  draw();
}

start();
