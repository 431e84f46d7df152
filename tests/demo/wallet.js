// A practice wallet for the demo: it announces itself like any wallet (EIP-6963), holds test ether, and is the unlocked
// account of the demo's own chain, so that every visitor can bet, win, and check a draw. No real wallet works like this.

const [CHAIN_URL, ACCOUNT] = ["{{chain}}", "{{account}}"];
const ICON = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 28 28'%3E%3Crect width='28' height='28' rx='8' fill='%23e6b450'/%3E%3Cpath d='M7 10h14v10H7zM9 10V7h10v3' fill='none' stroke='%23201804' stroke-width='2'/%3E%3C/svg%3E";

/** One socket to the chain for all calls; the page's policy lets a script open no other connection. */
function chain() {
  const waiting = new Map();
  const socket = new WebSocket(CHAIN_URL);
  const opened = new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("close", () => {
      reject(new Error("The demo's chain is gone."));
      for (const { fail } of waiting.values()) fail(new Error("The demo's chain is gone."));
      calls = null;
    });
  });
  socket.addEventListener("message", ({ data }) => {
    const { id, result, error } = JSON.parse(data);
    const call = waiting.get(id);
    waiting.delete(id);
    if (error) call?.fail(Object.assign(new Error(error.message), error));
    else call?.answer(result);
  });
  let lastId = 0;
  return async (method, params) => {
    await opened;
    const id = ++lastId;
    socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    return new Promise((answer, fail) => waiting.set(id, { answer, fail }));
  };
}

let calls = null;

const provider = {
  async request({ method, params = [] }) {
    if (method === "eth_requestAccounts" || method === "eth_accounts") return [ACCOUNT];
    if (method === "wallet_switchEthereumChain") return null;
    calls ??= chain();
    // The chain's own limit: a bet, a refund and a withdrawal all stay below it.
    const sent = method === "eth_sendTransaction" ? [{ gas: "0x1e8480", ...params[0] }] : params;
    return calls(method, sent);
  },
  on() {},
  removeListener() {},
};

const detail = Object.freeze({
  info: Object.freeze({ uuid: "7a0f5c1e-5d0b-4c43-9d3e-2f6f0b1f4a11", name: "Practice wallet (test ether)", icon: ICON, rdns: "demo.practice" }),
  provider,
});
const announce = () => dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail }));
addEventListener("eip6963:requestProvider", announce);
announce();
