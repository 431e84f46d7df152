// The players of the running round, by amount. The first 200 live on the feed; further pages are asked for.

import { ask } from "./api.js";
import { fill, keyed, make, pager, setAttribute, setText, show } from "./dom.js";
import { counted, ether, etherShort, grouped, millionths, percent } from "./format.js";
import { address } from "./links.js";

const PAGE_LEN = 10;
const REFRESH_MS_MIN = 3_000;
const byId = (id) => document.getElementById(id);

export function participantsView() {
  const turner = pager("players", (page) => {
    shown = page;
    draw();
  });
  byId("players-pager").append(turner.node);
  let current = null;
  let shown = 0;
  /** The last page asked for: {of, roundId, page, rows, atMs, problem}; `of` is the state it was asked in. */
  let asked = null;
  let timer = 0;

  function draw() {
    const { totalParticipants, totalAmountWei, list } = current;
    const pages = Math.max(1, Math.ceil(totalParticipants / PAGE_LEN));
    shown = Math.min(shown, pages - 1);
    const from = shown * PAGE_LEN;
    const onFeed = from + PAGE_LEN <= list.length || list.length >= totalParticipants;
    if (!onFeed) request(shown);
    const rows = onFeed ? list.slice(from, from + PAGE_LEN) : asked.rows;
    keyed(byId("players-rows"), rows.map(({ address, totalAmountWei: betWei }, index) =>
      ({ address, betWei, potWei: totalAmountWei, rank: from + index + 1 })), (row) => row.address, participantRow);
    show(byId("players-table"), totalParticipants > 0);
    show(byId("players-empty"), totalParticipants === 0);
    setText(byId("players-count"), totalParticipants > 0 ? counted(totalParticipants, "player") : "");
    const last = Math.min(from + PAGE_LEN, totalParticipants);
    turner.update(shown, pages, (!onFeed && asked.problem) || `${grouped(from + 1)} to ${grouped(last)} of ${grouped(totalParticipants)}`);
  }

  /** Asks for a page when the state has moved on since it was asked for, and not too often. */
  async function request(page) {
    if (isAsked(page) && asked.of === current) return;
    const waitMs = isAsked(page) ? asked.atMs + REFRESH_MS_MIN - performance.now() : 0;
    clearTimeout(timer);
    if (waitMs > 0) {
      timer = setTimeout(redraw, waitMs);
      return;
    }
    const mine = { of: current, roundId: current.roundId, page, rows: isAsked(page) ? asked.rows : [], atMs: performance.now(), problem: null };
    asked = mine;
    try {
      const answer = await ask(`api/round/participants?limit=${PAGE_LEN}&offset=${page * PAGE_LEN}`);
      // A new round may have begun in between; its own update draws it.
      if (answer.roundId === mine.roundId) mine.rows = answer.participants;
    } catch (error) {
      mine.problem = error.message;
    }
    if (asked === mine) redraw();
  }

  function isAsked(page) {
    return asked !== null && asked.roundId === current.roundId && asked.page === page;
  }

  function redraw() {
    if (!document.hidden) draw();
  }

  return (participants) => {
    current = participants;
    draw();
  };
}

function participantRow() {
  const rank = make("td", { class: "muted" });
  const who = make("td");
  const bar = make("span", { class: "share-filled" });
  const share = make("span", { class: "share-words" });
  const amount = make("td", { class: "number" });
  const node = make("tr", null, rank, who,
    make("td", null, make("div", { class: "share" }, make("span", { class: "share-track", "aria-hidden": "true" }, bar), share)),
    amount);
  return {
    node,
    update(row) {
      setText(rank, String(row.rank));
      fill(who, row.address, () => address(row.address));
      bar.style.transform = `scaleX(${millionths(row.betWei, row.potWei) / 1e6})`;
      setText(share, percent(row.betWei, row.potWei));
      setText(amount, etherShort(row.betWei));
      setAttribute(amount, "title", `${ether(row.betWei)} ETH`);
    },
  };
}
