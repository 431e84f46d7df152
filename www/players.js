// The players of the running round as a table, by amount. What the feed did not bring is asked for page by page.

import { byId, fill, keyed, make, pager, setAttribute, setText, show } from "./dom.js";
import { counted, grouped, millionths, percent } from "./format.js";
import { address, setAmount } from "./links.js";
import { colourOf } from "./strip.js";

const PAGE_LEN = 10;

/** `draw(participants, me, isKnown)` shows them; the list may still be growing. */
export function playersView() {
  let shown = 0;
  let current = null;
  const turner = pager("players", (page) => {
    shown = page;
    draw(...current);
  });
  byId("players-pager").append(turner.node);

  function draw(participants, me, isKnown) {
    current = [participants, me, isKnown];
    const { totalParticipants, totalAmountWei, list } = participants;
    const pages = Math.max(1, Math.ceil(totalParticipants / PAGE_LEN));
    shown = Math.min(shown, pages - 1);
    const from = shown * PAGE_LEN;
    const rows = list.slice(from, from + PAGE_LEN).map((entry, index) => ({ ...entry, potWei: totalAmountWei, rank: from + index + 1, isMe: entry.address.toLowerCase() === me }));
    keyed(byId("players-rows"), rows, (row) => row.address, playerRow);
    show(byId("players-table"), rows.length > 0);
    show(byId("players-empty"), totalParticipants === 0 || rows.length === 0);
    setText(byId("players-empty"), isKnown ? (totalParticipants === 0 ? "Nobody has bet in this round yet." : "Asking for them…") : "Not known yet: the chain is still being read.");
    setText(byId("players-count"), totalParticipants > 0 ? counted(totalParticipants, "player") : "");
    const last = Math.min(from + PAGE_LEN, totalParticipants);
    turner.update(shown, pages, `${grouped(from + 1)} to ${grouped(last)} of ${grouped(totalParticipants)}`);
  }

  return draw;
}

function playerRow() {
  const rank = make("td", { class: "muted" });
  const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
  const who = make("span");
  const you = make("span", { class: "badge good" }, "you");
  const bar = make("span", { class: "share-filled" });
  const share = make("span", { class: "share-words" });
  const held = make("td", { class: "number" });
  const node = make("tr", null, rank, make("td", null, make("span", { class: "who" }, swatch, who, you)),
    make("td", null, make("div", { class: "share" }, make("span", { class: "share-track", "aria-hidden": "true" }, bar), share)),
    held);
  return {
    node,
    update(row) {
      setText(rank, String(row.rank));
      setAttribute(swatch, "class", `swatch p${colourOf(row.order)}`);
      fill(who, [row.address], () => address(row.address));
      show(you, row.isMe);
      bar.style.transform = `scaleX(${millionths(row.wei, row.potWei) / 1e6})`;
      setText(share, percent(row.wei, row.potWei));
      setAmount(held, row.wei);
    },
  };
}
