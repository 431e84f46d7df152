// The live feed: every event of the contract and every alert of the operator, newest first. What a reorganisation took
// back stays for the record, struck through and said in words.

import { byId, fill, foreign, keyed, make, setAttribute, setText, show } from "./dom.js";
import { setTime, transaction } from "./links.js";
import { finalityOf } from "./state.js";

const FINALITY_WORDS = { latest: "may still change", safe: "safe", finalized: "final" };

/** What takes a reader away from the newest; our own scrolling does not, which the next bet may interrupt. */
const DEEDS = ["wheel", "pointerdown", "keydown", "focusin"];
let isAtTop = true;

export function setUpLive() {
  const scroller = byId("feed").parentElement;
  for (const deed of DEEDS) scroller.addEventListener(deed, () => (isAtTop = false), { passive: true });
  scroller.addEventListener("scrollend", () => (isAtTop ||= scroller.scrollTop < 4));
}

/** What enters above moves nothing that is being read: it comes into view by scrolling, and only for who is at the top. */
export function renderFeed(feed, finality) {
  const list = byId("feed");
  const scroller = list.parentElement;
  const before = list.firstElementChild;
  isAtTop ||= scroller.scrollTop < 4;
  keyed(list, feed.map((item) => ({ item, finality })), ({ item }) => item.id, feedRow);
  show(byId("feed-empty"), feed.length === 0);
  if (before === null || !before.isConnected || before === list.firstElementChild) return;
  scroller.scrollTop += before.offsetTop - list.firstElementChild.offsetTop;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (isAtTop) requestAnimationFrame(() => scroller.scrollTo({ top: 0, behavior: calm ? "instant" : "smooth" }));
}

function feedRow({ item }) {
  const when = make("time");
  const message = make("span", { class: "feed-message" });
  const standing = make("span", { class: "standing" });
  const link = make("span", { class: "feed-link" });
  const node = make("li", { "data-severity": item.severity }, message, make("p", { class: "feed-foot muted" }, when, standing, link));
  return {
    node,
    update({ item, finality }) {
      setAttribute(node, "data-retracted", item.retracted ? "yes" : null);
      setTime(when, item.timestamp);
      fill(message, [item.retracted, item.message], () => make(item.retracted ? "s" : "span", null, foreign(item.message)));
      setText(standing, standingOf(item, finality));
      fill(link, [item.transactionHash], () => item.transactionHash ? transaction(item.transactionHash) : null);
    },
  };
}

function standingOf(item, finality) {
  if (item.retracted) return "taken back by the chain";
  if (item.transactionHash) return FINALITY_WORDS[finalityOf(finality, item.blockNumber)];
  return item.severity === "info" ? "operator" : `operator ${item.severity}`;
}
