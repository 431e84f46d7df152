// The visitor's wallet: which there are (EIP-6963, and window.ethereum where none announces itself), which one is
// connected, and what is asked of it. Wallets are strangers: what they say is shown as text, and every refusal becomes a
// WalletError with words. Nothing is asked of a wallet before a click; only one that was connected here before is asked
// silently, after a reload, which accounts it still shows.

import { number, quantity } from "./abi.js";

const REMEMBERED = "lottery.wallet";
const CANCELLED = 4001;
const UNKNOWN_CHAIN = 4902;
const ALREADY_ASKED = -32002;
/** What a wallet answers without its owner, and how long it may take: one that died is silent for ever. */
const READING = /^eth_(call|get|gasPrice|chainId)/;
const READING_MS_MAX = 15_000;

/** Public names and endpoints of chains, for wallets that do not know them yet (EIP-3085). */
const CHAINS = {
  1: ["Ethereum", "https://ethereum-rpc.publicnode.com"],
  10: ["OP Mainnet", "https://mainnet.optimism.io"],
  56: ["BNB Smart Chain", "https://bsc-dataseed.bnbchain.org"],
  137: ["Polygon", "https://polygon-rpc.com"],
  8453: ["Base", "https://mainnet.base.org"],
  42161: ["Arbitrum One", "https://arb1.arbitrum.io/rpc"],
  11155111: ["Sepolia", "https://ethereum-sepolia-rpc.publicnode.com"],
};

export const chainName = (chainId) => CHAINS[chainId]?.[0] ?? `chain ${chainId}`;

/** `kind` is "cancelled" (by the visitor, no fault), "waiting" (its window is open already) or "failed". */
export class WalletError extends Error {
  constructor(kind, message, cause) {
    super(message);
    this.kind = kind;
    this.cause = cause;
  }
}

/** `changed()` hears of every change of what the returned object tells. */
export function walletOf(changed) {
  /** By rdns and uuid: {info: {name, rdns, icon}, provider}. */
  const announced = new Map();
  let connected = null;
  let account = null;
  let chainId = null;

  addEventListener("eip6963:announceProvider", ({ detail }) => {
    if (typeof detail?.provider?.request !== "function" || typeof detail.info?.name !== "string") return;
    const id = `${detail.info.rdns} ${detail.info.uuid}`;
    if (announced.has(id)) return;
    announced.set(id, { info: detail.info, provider: detail.provider });
    changed();
    reconnect();
  });
  dispatchEvent(new Event("eip6963:requestProvider"));

  function choices() {
    if (announced.size > 0) return [...announced.values()];
    const provider = globalThis.ethereum;
    if (typeof provider?.request !== "function") return [];
    return [{ info: { name: "Browser wallet", rdns: "window.ethereum", icon: null }, provider }];
  }

  async function request(method, params = [], choice = connected) {
    if (choice === null) throw new WalletError("failed", "No wallet is connected.");
    try {
      const answer = choice.provider.request({ method, params });
      return await (READING.test(method) ? Promise.race([answer, silence()]) : answer);
    } catch (error) {
      throw worded(error);
    }
  }

  const onAccounts = (accounts) => {
    account = firstAccount(accounts);
    if (account === null) forget();
    changed();
  };
  const onChain = (id) => {
    chainId = readChain(id);
    changed();
  };
  const onDisconnect = () => changed();

  /** One set of listeners, on the connected provider alone. */
  function listen(choice, on) {
    const act = (on ? choice.provider.on : choice.provider.removeListener)?.bind(choice.provider);
    if (!act) return;
    act("accountsChanged", onAccounts);
    act("chainChanged", onChain);
    act("disconnect", onDisconnect);
  }

  async function adopt(choice, accounts) {
    const first = firstAccount(accounts);
    if (first === null) throw new WalletError("failed", "The wallet shows no account.");
    const id = readChain(await request("eth_chainId", [], choice));
    if (connected !== null) listen(connected, false);
    [connected, account, chainId] = [choice, first, id];
    listen(connected, true);
    remember(choice.info.rdns);
    changed();
  }

  async function reconnect() {
    const rdns = remembered();
    const choice = rdns === null || connected !== null ? null : choices().find(({ info }) => info.rdns === rdns);
    if (!choice) return;
    const accounts = await request("eth_accounts", [], choice).catch(() => []);
    if (connected === null && firstAccount(accounts) !== null && remembered() === rdns) await adopt(choice, accounts).catch(() => null);
  }

  function forget() {
    if (connected !== null) listen(connected, false);
    [connected, account, chainId] = [null, null, null];
    remember(null);
  }

  // A wallet that does not announce itself is there once the page has loaded.
  if (document.readyState === "complete") reconnect();
  else addEventListener("load", reconnect, { once: true });

  return {
    choices,
    request,
    get account() { return account; },
    get chainId() { return chainId; },
    get name() { return connected?.info.name ?? null; },
    async connect(choice) {
      await adopt(choice, await request("eth_requestAccounts", [], choice));
    },
    disconnect() {
      forget();
      changed();
    },
    /** Brings the wallet to the lottery's chain, adding the chain where the wallet does not know it. */
    async useChain(wanted, explorerUrl) {
      if (chainId === wanted) return;
      const id = quantity(wanted);
      try {
        await request("wallet_switchEthereumChain", [{ chainId: id }]);
      } catch (error) {
        const code = error.cause?.code;
        if (code !== UNKNOWN_CHAIN && error.cause?.data?.originalError?.code !== UNKNOWN_CHAIN) throw error;
        await addChain(id, wanted, explorerUrl);
      }
      chainId = readChain(await request("eth_chainId"));
      changed();
      if (chainId !== wanted) throw new WalletError("failed", `The wallet stays on ${chainName(chainId)}. Choose ${chainName(wanted)} in it.`);
    },
  };

  async function addChain(id, wanted, explorerUrl) {
    const [name, rpcUrl] = CHAINS[wanted] ?? [`Chain ${wanted}`, null];
    const chain = { chainId: id, chainName: name, nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 } };
    if (rpcUrl) chain.rpcUrls = [rpcUrl];
    if (explorerUrl) chain.blockExplorerUrls = [explorerUrl];
    try {
      await request("wallet_addEthereumChain", [chain]);
      await request("wallet_switchEthereumChain", [{ chainId: id }]);
    } catch (error) {
      if (error.kind !== "failed") throw error;
      throw new WalletError("failed", `The wallet does not know ${chainName(wanted)}: add it there by hand, then try again.`, error.cause);
    }
  }
}

const silence = () => new Promise((_, fail) => setTimeout(fail, READING_MS_MAX, "nothing at all"));

function worded(error) {
  const code = error?.code;
  if (code === CANCELLED) return new WalletError("cancelled", "Cancelled in the wallet. Nothing was sent.", error);
  if (code === ALREADY_ASKED) return new WalletError("waiting", "Your wallet is waiting for you: open it.", error);
  const said = String(error?.message ?? error ?? "no reason").slice(0, 300);
  return new WalletError("failed", /insufficient funds/i.test(said) ? "There is not enough ETH for the amount and the fee." : `The wallet says: \u2068${said}\u2069`, error);
}

function firstAccount(accounts) {
  const first = Array.isArray(accounts) ? accounts[0] : null;
  return typeof first === "string" && /^0x[0-9a-f]{40}$/i.test(first) ? first.toLowerCase() : null;
}

function readChain(id) {
  try {
    return typeof id === "number" ? id : Number(number(id));
  } catch {
    return null;
  }
}

// Storage may be forbidden; then nothing is remembered.
function remember(rdns) {
  try {
    if (rdns === null) localStorage.removeItem(REMEMBERED);
    else localStorage.setItem(REMEMBERED, rdns);
  } catch {
    // Not remembered.
  }
}

function remembered() {
  try {
    return localStorage.getItem(REMEMBERED);
  } catch {
    return null;
  }
}
