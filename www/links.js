// Addresses, hashes, blocks and moments as elements: linked to the block explorer where one is configured, shortened by
// the layout and never in the text, so that copying gives the whole value.

import { byId, make, setAttribute, setText } from "./dom.js";
import { ether, etherShort, grouped, localTime, utcTime } from "./format.js";

const TAIL_LEN = 4;
let explorer = null;

/** Only a web address is taken; anything else leaves plain text. */
export function setExplorer(url) {
  explorer = /^https?:\/\//i.test(url ?? "") ? url.replace(/\/+$/, "") : null;
}

export const address = (value) => hex("address", value);
export const transaction = (value) => hex("tx", value);

/** A 256-bit number or hash that no explorer shows, in full. */
export function figure(value) {
  return make("code", { class: "breakable" }, String(value));
}

export function block(number) {
  return linked("block", String(number), "hex-plain", grouped(number));
}

function hex(kind, value) {
  return linked(kind, value, "hex",
    make("span", { class: "hex-head" }, value.slice(0, -TAIL_LEN)),
    make("span", { class: "hex-tail" }, value.slice(-TAIL_LEN)));
}

function linked(kind, value, className, ...children) {
  const inside = make("bdi", { class: className, title: value }, ...children);
  if (explorer === null) return inside;
  return make("a", {
    class: "explored",
    href: `${explorer}/${kind}/${encodeURIComponent(value)}`,
    target: "_blank",
    rel: "noopener noreferrer",
  }, inside);
}

/** A <time> in the visitor's zone, or in UTC where that was chosen; the other one is in its title. "unknown" for 0. */
export function time(unixSeconds) {
  const node = make("time");
  setTime(node, unixSeconds);
  return node;
}

export function setTime(node, unixSeconds) {
  const today = new Date();
  const key = `${unixSeconds} ${today.getDate()} ${showsUtc}`;
  if (shownTimes.get(node) === key) return;
  shownTimes.set(node, key);
  node.dataset.at = unixSeconds || "";
  const [local, utc] = unixSeconds ? [localTime(unixSeconds, today), utcTime(unixSeconds)] : ["unknown", null];
  setText(node, showsUtc && utc ? utc : local);
  setAttribute(node, "datetime", unixSeconds ? new Date(unixSeconds * 1000).toISOString() : null);
  setAttribute(node, "title", showsUtc ? local : utc);
}

/** What each <time> shows, and on which day it was written: the text leaves out today's date. */
const shownTimes = new WeakMap();
let showsUtc = false;

/** Ether at a glance, with the whole amount in its title. */
export function amount(wei, className = "amount") {
  return make("span", { class: className, title: `${ether(wei)} ETH` }, `${etherShort(wei)} ETH`);
}

export function setAmount(node, wei) {
  setText(node, wei === null ? "–" : etherShort(wei));
  setAttribute(node, "title", wei === null ? null : `${ether(wei)} ETH`);
}

/** The button that writes every time on the page in UTC, or in the visitor's zone again. */
export function setUpTimes() {
  const toggle = byId("utc");
  toggle.addEventListener("click", () => {
    showsUtc = !showsUtc;
    for (const node of document.querySelectorAll("time[data-at]")) setTime(node, Number(node.dataset.at));
    setAttribute(toggle, "aria-pressed", String(showsUtc));
  });
}
