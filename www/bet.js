// Placing a bet: the amount in exact wei, what it does to one's odds, and the way through the wallet. Before anything is
// sent the contract is asked whether it would take it, so that a refusal is told in words and costs nothing.

import { calldata, number, quantity, revertReason } from "./abi.js";
import { button, byId, copyBy, fill, foreign, keyed, make, moveFocus, setAttribute, setText, show } from "./dom.js";
import { counted, countdown, ether, etherPlain, etherShort, grouped, odds, parseEther, percent } from "./format.js";
import { address, amount, transaction } from "./links.js";
import { chainName } from "./wallet.js";
import { serverUrl } from "./api.js";

/** Left for the fee when everything is bet: of a bet's 150,000 gas at twice the price of the moment. */
const FEE_GAS = 300_000n;
const LATE_SECONDS = 15;

const REFUSALS = {
  "Bet amount too low": "The amount is below the smallest bet.",
  "Round not in betting state": "The round takes no bets right now.",
  "Betting not active": "Betting has just closed; the next round opens with its first bet.",
  "Max draw time not expired": "The draw window is still open: the round can still be drawn.",
  "No participants in round": "Nobody has bet in this round.",
  "No funds available": "Nothing is waiting for you in the contract.",
};

/** What the contract or the wallet says against it, in words. */
export function refusalWords(error) {
  const reason = revertReason(error.cause ?? error);
  if (reason === null) return error.message;
  return REFUSALS[reason] ?? `The contract refuses: \u2068${reason}\u2069.`;
}

/**
 * view() answers {state, deployment, moment, phase, now, mine, potWei, takesBets}; `changed()` and `placed()` hear of what
 * is new here, and of a bet that was sent.
 */
export function betForm({ wallet, tracker, view, changed, placed }) {
  const input = byId("amount");
  const noAccount = byId("account").firstChild;
  let problem = null;
  let busy = null;
  let balance = null;
  let isTouched = false;
  /** What the odds were last told for. */
  let oddsAbout = null;
  // The round for which the visitor was told that a bet comes late, and may press again.
  let lateRound = null;

  input.addEventListener("input", touched);
  byId("bet-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (busy === null) submit();
  });

  /** The amount of the field: {wei} or {problem}. */
  const typed = () => parseEther(input.value);

  async function submit() {
    const { state, deployment, takesBets, closesIn } = view();
    const roundId = state.round?.roundId ?? null;
    const { wei, problem: wrong } = typed();
    if (wrong) return refuse(wrong);
    const least = BigInt(state.config?.minBetWei ?? 0);
    if (wei < least) return refuse(`The smallest bet is ${ether(least)} ETH.`);
    if (!deployment) return refuse("The contract's address is not known yet.");
    if (wallet.account === null) return openWallets();
    if (!takesBets) return refuse("This round takes no bets any more. The next one opens as soon as it has ended.", situation());
    if (closesIn !== null && closesIn < LATE_SECONDS && lateRound !== roundId) {
      lateRound = roundId;
      return refuse(`Only ${Math.max(0, closesIn)} s are left: a bet mined after the end is refused, and its fee is lost. Press again to bet all the same.`, situation());
    }
    if (balance !== null && wei > balance) return refuse(`Your balance is ${etherShort(balance)} ETH.`);
    await send("bet", { value: quantity(wei), data: calldata("placeBet") }, `Bet of ${etherShort(wei)} ETH`, wei);
  }

  /** `onlyIn` is the situation in which alone the words are true; without it they stay until the next deed. */
  function refuse(words, onlyIn) {
    problem = { kind: "failed", words, onlyIn };
    changed();
    input.focus();
  }

  function situation() {
    const { state, takesBets } = view();
    return `${state.round?.roundId} ${takesBets}`;
  }

  /** Asks the contract, then the wallet; `action` names what it is for the record. */
  async function send(action, parts, words, wei = 0n) {
    const { deployment, state } = view();
    [busy, problem] = ["Open your wallet…", null];
    changed();
    try {
      await wallet.useChain(deployment.chainId, deployment.explorerUrl);
      const call = { from: wallet.account, to: deployment.contract, ...parts };
      busy = "Asking the contract…";
      changed();
      await wallet.request("eth_call", [call, "latest"]);
      busy = "Confirm in your wallet…";
      changed();
      const hash = await wallet.request("eth_sendTransaction", [call]);
      if (!/^0x[0-9a-f]{64}$/i.test(hash)) throw new Error("The wallet named no transaction.");
      tracker.add({ hash: hash.toLowerCase(), from: call.from, action, words, wei: String(wei), roundId: state.round?.roundId ?? null });
      isTouched = false;
      lateRound = null;
      if (action === "bet") placed();
    } catch (error) {
      problem = { kind: error.kind ?? "failed", words: refusalWords(error) };
    }
    busy = null;
    changed();
  }

  async function refreshBalance() {
    const account = wallet.account;
    if (account === null || wallet.chainId !== view().deployment?.chainId) {
      balance = null;
      return;
    }
    try {
      const found = number(await wallet.request("eth_getBalance", [account, "latest"]));
      if (wallet.account === account) balance = found;
      changed();
    } catch {
      balance = null;
    }
  }

  async function setMost() {
    await refreshBalance();
    if (balance === null) return;
    const price = number(await wallet.request("eth_gasPrice").catch(() => "0x77359400"));
    const most = balance - FEE_GAS * price;
    setAmount(most > 0n ? most : 0n);
  }

  function setAmount(wei) {
    input.value = etherPlain(wei);
    touched();
  }

  function touched() {
    isTouched = true;
    [problem, lateRound] = [null, null];
    changed();
  }

  function render() {
    const shown = view();
    // Whoever disconnects a wallet waits for it no longer.
    if (wallet.account === null) busy = null;
    if (problem?.onlyIn && problem.onlyIn !== situation()) problem = null;
    const { state, takesBets, phase } = shown;
    const least = state.config ? BigInt(state.config.minBetWei) : null;
    if (!isTouched && least !== null && document.activeElement !== input) input.value = etherPlain(typicalOf(state, least));
    const { wei = null, problem: wrong = null } = typed();
    setText(byId("bet-title"), titleOf(shown));
    chips(state, least, wei);
    const told = oddsWords(shown, wei, wrong, least, isTouched);
    fill(byId("odds"), [told], () => {
      // Spoken when it is the visitor's doing, or the round's; not at each bet of others.
      const about = `${input.value} ${takesBets}`;
      setAttribute(byId("odds"), "aria-live", about === oddsAbout ? "off" : null);
      oddsAbout = about;
      return emphasised(told);
    });
    setAttribute(byId("bet"), "data-takes", takesBets || phase === null ? null : "no");
    const send = byId("bet-button");
    setText(send, busy ?? buttonWords(wallet.account, wei, phase, takesBets));
    setAttribute(send, "aria-disabled", busy !== null || (wallet.account !== null && !takesBets) ? "true" : null);
    setAttribute(input, "aria-invalid", isTouched && wrong ? "true" : null);
    const trouble = byId("bet-problem");
    setText(trouble, problem?.words ?? "");
    setAttribute(trouble, "data-kind", problem?.kind ?? null);
    fill(byId("account"), [wallet.name, wallet.account, wallet.chainId, balance, shown.deployment], () => accountLine(shown));
    keyed(byId("sent"), tracker.sent, ({ hash }) => hash, sentRow);
    renderPhone(shown, wei);
  }

  function chips(state, least, wei) {
    const items = [];
    if (least !== null) {
      const typical = typicalOf(state, least);
      items.push(["smallest", least], ["typical", typical], ["double", typical * 2n]);
    }
    const shown = items.filter(([, value], index) => items.findIndex(([, other]) => other === value) === index)
      .map(([key, value]) => ({ key, value, on: value === wei }));
    if (balance !== null) shown.push({ key: "all", value: null, on: false });
    keyed(byId("chips"), shown, ({ key }) => key, ({ key }) => {
      let value = null;
      const node = button("", { class: "chip" }, () => (key === "all" ? setMost() : setAmount(value)));
      return {
        node,
        update(chip) {
          value = chip.value;
          setText(node, key === "all" ? "max" : `${key === "smallest" ? "min " : ""}${etherShort(value)}`);
          setAttribute(node, "aria-pressed", String(chip.on));
        },
      };
    });
  }

  function accountLine({ deployment }) {
    if (wallet.account === null) return noAccount;
    const node = make("p", { class: "account" }, foreign(wallet.name), address(wallet.account));
    if (balance !== null) node.append(amount(balance));
    if (deployment && wallet.chainId !== deployment.chainId) {
      node.append(button(`Switch to ${chainName(deployment.chainId)}`, { class: "plain" }, async () => {
        await wallet.useChain(deployment.chainId, deployment.explorerUrl).catch((error) => (problem = { kind: error.kind, words: error.message }));
        changed();
      }));
    }
    node.append(button("Disconnect", { class: "plain" }, () => {
      wallet.disconnect();
      byId("bet-button").focus({ preventScroll: true });
    }));
    return node;
  }

  function sentRow(item) {
    const state = make("strong");
    const words = make("span");
    const close = button("✕", { class: "plain", "aria-label": "Forget this transaction" }, () => {
      tracker.dismiss(item.hash);
      moveFocus(byId("sent"));
    });
    const node = make("li", null, state, " ", words, " ", transaction(item.hash), close);
    return {
      node,
      update(one) {
        setAttribute(node, "data-state", one.state);
        setText(state, capital(one.state));
        setText(words, `${one.words}${one.wasTakenBack && one.state === "pending" ? " (the chain took its block back, it waits again)" : ""}`);
        show(close, one.state !== "pending");
      },
    };
  }

  return {
    render,
    send,
    refreshBalance,
    /** The bet that is being typed, for the strip; null where there is none. */
    ghost() {
      const { takesBets } = view();
      const { wei } = typed();
      return takesBets && wei > 0n && (isTouched || wallet.account !== null) ? wei : null;
    },
    say(kind, words) {
      problem = { kind, words };
      changed();
    },
    unsay() {
      problem = null;
      changed();
    },
    openWallets,
  };

  function openWallets() {
    const choices = wallet.choices();
    if (choices.length === 0) {
      byId("phone").open = true;
      byId("phone").querySelector("summary").focus();
      problem = { kind: "waiting", words: "No wallet was found in this browser. A phone's wallet can bet by the code below." };
      changed();
      return;
    }
    const dialog = byId("wallets");
    byId("wallet-list").replaceChildren(...choices.map((choice, index) => make("li", null, walletButton(choice, dialog, index === 0))));
    setText(byId("wallet-problem"), "");
    dialog.showModal();
  }

  function walletButton(choice, dialog, isFirst) {
    const icon = /^data:image\//.test(choice.info.icon ?? "") ? make("img", { src: choice.info.icon, alt: "", width: 28, height: 28 }) : make("span", { class: "wallet-blank", "aria-hidden": "true" });
    return button("", { class: "wallet", autofocus: isFirst ? "" : null }, async () => {
      setText(byId("wallet-problem"), "Open your wallet…");
      try {
        await wallet.connect(choice);
        dialog.close();
        await refreshBalance();
        byId("bet-button").focus({ preventScroll: true });
      } catch (error) {
        setText(byId("wallet-problem"), error.message);
      }
    }).appendChild(make("span", { class: "wallet-name" }, icon, foreign(choice.info.name))).parentNode;
  }
}

const capital = (words) => words[0].toUpperCase() + words.slice(1);

/** The middle of what has been bet, else of nothing: the smallest. */
function typicalOf({ participants: { list } }, least) {
  const middle = list.length > 0 ? list[Math.floor(list.length / 2)].wei : least * 10n;
  return middle < least ? least : middle;
}

function titleOf({ state, takesBets, phase, moment, closesIn }) {
  // The first screen still shows the last result.
  if (moment.finished && phase === "betting") {
    return `Round ${grouped(state.round.roundId)} is open: ${countdown(closesIn)} to bet, ${etherShort(state.round.totalPotWei)} ETH in the pot`;
  }
  const name = state.round ? `round ${grouped(state.round.roundId)}` : "the next round";
  if (phase === null) return "Bet";
  if (phase === "waiting") return `${capital(name)} opens with the first bet`;
  return takesBets ? `Bet in ${name}` : `${capital(name)} takes no more bets`;
}

function buttonWords(account, wei, phase, takesBets) {
  if (account === null) return "Connect a wallet";
  if (!takesBets) return "Closed";
  return wei === null ? "Bet" : `Bet ${etherShort(wei)} ETH`;
}

/** What the amount does to one's odds; the figures that count stand between asterisks. */
function oddsWords({ state, phase, takesBets, mine, potWei }, wei, wrong, least, isTouched) {
  if (!state.config) return "The contract's terms are not known yet.";
  if (phase === null) return "Whether bets are taken is not known yet.";
  const held = mine > 0n ? `You hold *${percent(mine, potWei)}* of the pot, *${odds(mine, potWei)}*. ` : "";
  if (!takesBets) return `${held}${phase === "stuck" ? "This round can take no bet, and holds none." : "The next round opens when this one has ended."}`;
  if (wrong) return isTouched ? wrong : `Bets add up; the smallest is ${etherShort(least)} ETH.`;
  if (wei < least) return `The smallest bet is ${ether(least)} ETH.`;
  if (potWei === 0n) return `You would be the first. A draw needs ${counted(state.config.minParticipants, "player")}; with fewer, everyone is paid back.`;
  const now = mine > 0n ? ` (now ${percent(mine, potWei)})` : "";
  return `This makes your share *${percent(mine + wei, potWei + wei)}*${now}: *${odds(mine + wei, potWei + wei)}*.`;
}

function emphasised(text) {
  return make("span", null, ...text.split("*").map((part, index) => (index % 2 === 1 ? make("strong", null, part) : part)));
}

/** EIP-681: what the code and the link ask a phone's wallet to do. */
export const paymentLink = ({ contract, chainId }, wei) => `ethereum:${contract}@${chainId}/placeBet?value=${wei}`;

const APPS = [
  ["MetaMask", (url) => `https://metamask.app.link/dapp/${url.replace(/^https?:\/\//, "")}`],
  ["Coinbase Wallet", (url) => `https://go.cb-w.com/dapp?cb_url=${encodeURIComponent(url)}`],
  ["Trust Wallet", (url) => `https://link.trustwallet.com/open_url?coin_id=60&url=${encodeURIComponent(url)}`],
];

function renderPhone({ deployment, state }, wei) {
  if (!deployment || !state.config) return;
  const least = BigInt(state.config.minBetWei);
  const amountWei = wei !== null && wei >= least ? wei : least;
  setText(byId("phone-amount"), `${etherShort(amountWei)} ETH`);
  setText(byId("contract"), deployment.contract);
  setText(byId("contract-chain"), chainName(deployment.chainId));
  if (!byId("phone").open) return;
  setAttribute(byId("phone-code"), "src", serverUrl(`bet.svg?amountWei=${amountWei}`).href);
  setAttribute(byId("phone-link"), "href", paymentLink(deployment, amountWei));
  fill(byId("phone-apps"), [location.href], () => make("span", null, "Or open this page in ", ...APPS.flatMap(([name, link], index) =>
    [index > 0 ? (index === APPS.length - 1 ? " or " : ", ") : "", make("a", { href: link(location.href), rel: "noopener noreferrer" }, name)]), "."));
}

export function setUpPhone(changed) {
  byId("phone").open = matchMedia("(min-width: 120rem)").matches;
  byId("phone").addEventListener("toggle", changed);
  const copy = byId("copy");
  const words = copy.textContent;
  copy.addEventListener("click", async () => setText(byId("spoken"), await copyBy(copy, words, byId("contract").textContent, byId("contract"))));
}
