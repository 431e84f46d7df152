// What became of the transactions that were sent from here: pending, included, final, reverted, replaced or dropped. The
// feed and the wallet's node are both heard. step() is pure; tracker() asks the wallet and remembers across reloads.

import { number } from "./abi.js";

const ASK_MS = 2_500;
/** Unknown to the wallet's node so often in a row, a transaction is taken for dropped. */
const MISSES_MAX = 6;
const KEPT_MAX = 8;
const STORE = "lottery.sent";

/**
 * What a transaction is after one look: `seen` is {receipt, transaction, nonce} as the wallet's node told (each null where
 * it told nothing), `finalizedBlock` the newest final one.
 */
export function step(sent, seen, finalizedBlock) {
  const next = { ...sent, nonce: sent.nonce ?? (seen.transaction ? Number(number(seen.transaction.nonce)) : null) };
  if (seen.receipt) {
    next.blockNumber = Number(number(seen.receipt.blockNumber));
    next.misses = 0;
    const isFinal = next.blockNumber <= finalizedBlock;
    next.state = number(seen.receipt.status) === 0n ? "reverted" : isFinal ? "final" : "included";
    return next;
  }
  if (sent.state === "included" || sent.state === "reverted") {
    // The chain took its block back.
    Object.assign(next, { state: "pending", blockNumber: null, misses: 0, wasTakenBack: true });
  }
  if (seen.transaction) return { ...next, misses: 0 };
  next.misses = (sent.misses ?? 0) + 1;
  if (next.nonce !== null && seen.nonce !== null && seen.nonce > next.nonce && next.misses > 1) next.state = "replaced";
  else if (next.misses >= MISSES_MAX) next.state = "dropped";
  return next;
}

export const isOpen = ({ state }) => state === "pending" || state === "included" || state === "reverted";

/** `changed()` hears of every change; `finalizedBlock()` tells the newest final block. */
export function tracker(wallet, finalizedBlock, changed) {
  let scope = "";
  let sent = [];
  let timer = 0;

  function load(next) {
    if (next === scope) return;
    scope = next;
    sent = stored(scope);
    schedule();
    changed();
  }

  // Another tab has sent something, or learned what became of it.
  addEventListener("storage", ({ key }) => {
    if (key !== `${STORE} ${scope}`) return;
    sent = stored(scope);
    schedule();
    changed();
  });

  function put(list) {
    sent = list.slice(0, KEPT_MAX);
    store(scope, sent);
    changed();
  }

  async function look() {
    timer = 0;
    if (!document.hidden && wallet.account !== null) {
      for (const one of sent.filter(isOpen)) await lookAt(one).catch(() => null);
    }
    schedule();
  }

  async function lookAt(one) {
    const at = scope;
    const receipt = await wallet.request("eth_getTransactionReceipt", [one.hash]);
    const transaction = receipt && one.nonce !== null ? null : await wallet.request("eth_getTransactionByHash", [one.hash]);
    const nonce = receipt || transaction ? null : Number(number(await wallet.request("eth_getTransactionCount", [one.from, "latest"])));
    if (at === scope) amend(one.hash, (known) => step(known, { receipt, transaction, nonce }, finalizedBlock()));
  }

  function amend(hash, change) {
    const next = sent.map((one) => (one.hash === hash ? change(one) : one));
    if (JSON.stringify(next) !== JSON.stringify(sent)) put(next);
  }

  function schedule() {
    if (timer === 0 && sent.some(isOpen)) timer = setTimeout(look, ASK_MS);
  }

  return {
    load,
    get sent() { return sent; },
    add(one) {
      put([{ nonce: null, blockNumber: null, misses: 0, state: "pending", ...one }, ...sent]);
      schedule();
    },
    /** The feed names transactions of blocks: often sooner than the wallet is asked. */
    hear({ transactionHash, blockNumber, retracted }) {
      if (!transactionHash) return;
      amend(transactionHash, (one) => {
        if (retracted) return one.state === "included" ? { ...one, state: "pending", blockNumber: null, wasTakenBack: true } : one;
        return one.state === "pending" || one.state === "dropped" ? { ...one, state: "included", blockNumber, misses: 0 } : one;
      });
    },
    settle() {
      const final = finalizedBlock();
      for (const one of sent) {
        if (one.state === "included" && one.blockNumber <= final) amend(one.hash, (known) => ({ ...known, state: "final" }));
      }
    },
    dismiss(hash) {
      put(sent.filter((one) => one.hash !== hash));
    },
  };
}

function stored(scope) {
  try {
    const list = JSON.parse(localStorage.getItem(`${STORE} ${scope}`)) ?? [];
    return list.filter(({ hash, from }) => /^0x[0-9a-f]{64}$/i.test(hash) && typeof from === "string");
  } catch {
    return [];
  }
}

function store(scope, list) {
  try {
    localStorage.setItem(`${STORE} ${scope}`, JSON.stringify(list));
  } catch {
    // Then they are forgotten with the page.
  }
}
