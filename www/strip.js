// The pot as a strip: every player as wide as their stake, in the order of first bets, as the contract walks it when it
// draws. layout() is pure; stripView() paints it on a canvas, whose cost is bounded by its pixels and not by the players.

import { make, setAttribute, setText, show } from "./dom.js";
import { counted, etherShort, grouped, percent, shortHex } from "./format.js";

const GROW_MS = 450;
const FALL_MS = 2600;
/** More parts than this change place at once: their growing would cost each frame what it shows in single pixels. */
const GROWING_MAX = 300;
export const COLOURS = 12;
/** Parts narrower than this have no label. */
const LABELLED_PX = 40;

/** Colours repeat after a dozen, and neighbours never share one. */
export const colourOf = (order) => order % COLOURS;

/**
 * The parts in first-bet order, as shares of the whole from 0 to 1: [{key, from, to, order, address, wei, crowd}]. `players`
 * are {address, wei, size, order}; where some are not known (`total` says how many and how much), each gap in the order is one
 * part, the crowd of those who hold the least. `ghost` is {address, wei}: a bet that is not made yet, behind its player's part.
 */
export function layout(players, total, ghost = null) {
  const ordered = inOrder(players);
  const known = ordered.reduce((sum, { size }) => sum + size, 0);
  const hidden = Math.max(0, total.count - ordered.length);
  const rest = hidden > 0 ? Math.max(0, Number(total.wei) - known) : 0;
  const whole = known + rest + Number(ghost?.wei ?? 0n);
  if (whole === 0) return [];
  const parts = [];
  let [at, next, left] = [0, 0, hidden];
  const add = (part, size) => {
    part.from = at / whole;
    at += size;
    part.to = at / whole;
    parts.push(part);
  };
  const crowd = (count) => {
    const those = Math.min(count, left);
    if (those > 0) add({ key: `crowd ${next}`, order: next, crowd: those, from: 0, to: 0 }, (those * rest) / hidden);
    left -= those;
  };
  const own = ghost ? findPlayer(ordered, ghost.address) : null;
  const addGhost = () => add({ key: "ghost", order: -1, ghost: true, from: 0, to: 0 }, Number(ghost.wei));
  for (const player of ordered) {
    const { address, wei, size, order } = player;
    if (order > next) crowd(order - next);
    add({ key: address, order, address, wei, from: 0, to: 0 }, size);
    next = order + 1;
    if (player === own) addGhost();
  }
  crowd(left);
  if (ghost && own === null) addGhost();
  return parts;
}

/** The one with this address, in any case of letters; null where there is none. */
export function findPlayer(players, address) {
  if (!address) return null;
  const wanted = address.toLowerCase();
  return players.find((player) => player.address?.toLowerCase() === wanted) ?? null;
}

/** By first bet, without comparing: the numbers are dense but for those who are not known. */
function inOrder(players) {
  const slots = [];
  for (const player of players) slots[player.order] = player;
  return slots.filter(Boolean);
}

/** Moves the winner's part under the needle where the crowd's places are only estimated. */
export function pointInside(parts, winner, point) {
  const part = parts.find(({ address }) => address === winner);
  if (!part || (point >= part.from && point <= part.to)) return point;
  return (part.from + part.to) / 2;
}

/** What the strip says to those who do not see it. */
export function describeStrip(players, total, me, winner) {
  if (total.count === 0) return "The pot is empty.";
  const largest = players.reduce((most, entry) => (most === null || isMore(entry, most) ? entry : most), null);
  const mine = findPlayer(players, me);
  return [
    `The pot in the order of first bets: ${counted(total.count, "player")}.`,
    largest ? `The largest part is ${shortHex(largest.address)}'s, ${percent(largest.wei, total.wei)}.` : null,
    mine ? `Yours is ${percent(mine.wei, total.wei)}.` : null,
    winner ? `The needle fell into ${shortHex(winner)}'s part.` : null,
  ].filter(Boolean).join(" ");
}

const isMore = (one, other) => one.size > other.size || (one.size === other.size && one.wei > other.wei);

/** The painter of one strip: `update(picture)` shows {parts, me, needle, winner, dim}; `needle` is a share, "runs" or null. */
export function stripView(root) {
  const canvas = root.querySelector("canvas");
  const needle = root.querySelector(".needle");
  const mark = root.querySelector(".strip-you");
  const tip = root.querySelector(".strip-tip");
  const context = canvas.getContext("2d");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let picture = { parts: [], me: null, needle: null, winner: null };
  let mine = null;
  /** Where the parts were when the picture changed, by key. */
  let shown = new Map();
  let started = 0;
  let fellFor = null;
  let dimFrom = 0;
  let frame = 0;
  let ink = null;
  let labels = null;
  let [width, height] = [0, 0];

  function update(next) {
    const now = performance.now();
    const moves = differs(picture.parts, next.parts) || picture.parts.length === 0;
    if (moves && next.parts.length > GROWING_MAX) {
      [shown, started] = [new Map(), -Infinity];
    } else if (moves) {
      // What is on its way goes on from where it is.
      const current = positions(now);
      shown = new Map(next.parts.map((part) => [part.key, current.get(part.key) ?? born(part, current)]));
      started = calm.matches || current.size === 0 || document.hidden ? -Infinity : now;
    }
    if (typeof next.needle === "number" && fellFor !== next.winner) {
      dimFrom = picture.needle === "runs" && !calm.matches && !document.hidden ? now + FALL_MS : -Infinity;
      setAttribute(needle, "data-falls", dimFrom > 0 ? "yes" : null);
      fellFor = next.winner;
    }
    if (typeof next.needle !== "number") fellFor = null;
    picture = next;
    labels = null;
    mine = findPlayer(next.parts, next.me);
    show(mark, mine !== null);
    if (mine !== null) {
      setText(mark, `you ${percent(mine.wei, next.totalWei)}`);
      // Above the part, and never beyond the strip: no such words are wider, so that nothing is measured.
      mark.style.left = `min(${100 * mine.from}%, 100% - 7em)`;
    }
    show(needle, next.needle !== null);
    setAttribute(needle, "data-runs", next.needle === "runs" ? "yes" : null);
    needle.style.transform = typeof next.needle === "number" ? `translateX(${100 * next.needle}%)` : "";
    if (document.hidden) return;
    // In the same frame as the rest of the page.
    cancelAnimationFrame(frame);
    paint(now);
  }

  /** A part that enters comes out of the seam where it belongs. */
  function born(part, current) {
    const index = picture.parts.findIndex(({ order }) => order > part.order && order >= 0);
    const neighbour = index < 0 ? null : current.get(picture.parts[index].key);
    const seam = neighbour ? neighbour.from : current.size > 0 ? 1 : part.from;
    return { from: seam, to: current.size > 0 ? seam : part.to };
  }

  function positions(now) {
    const progress = eased(Math.min(1, (now - started) / GROW_MS));
    return new Map(picture.parts.map((part) => {
      const old = shown.get(part.key) ?? part;
      return [part.key, { from: old.from + (part.from - old.from) * progress, to: old.to + (part.to - old.to) * progress }];
    }));
  }

  function ask() {
    if (frame === 0 && !document.hidden) frame = requestAnimationFrame(paint);
  }

  function paint(now) {
    frame = 0;
    ink ??= colours(root);
    const scale = Math.min(3, devicePixelRatio || 1);
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      labels = null;
    }
    labels ??= labelsOf();
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const progress = eased(Math.min(1, Math.max(0, (now - started) / GROW_MS)));
    const dim = picture.winner === null ? 0 : Math.min(1, Math.max(0, (now - dimFrom) / 500));
    draw(progress, dim);
    if (progress < 1 || (picture.winner !== null && dim < 1)) ask();
  }

  const labelSize = () => Math.max(13, Math.round(height * 0.085));
  /** What is written on the parts that have room, with its widths: measured once a picture. */
  function labelsOf() {
    // Set here alone: it costs a look at the sheet, and stays until the canvas changes its size.
    context.font = `600 ${labelSize()}px ${ink.family}`;
    const wide = picture.parts.filter((part) => (part.to - part.from) * width > LABELLED_PX && !part.ghost && !part.crowd);
    return new Map(wide.map((part) => [part, [percent(part.wei, picture.totalWei), shortHex(part.address)]
      .map((text) => ({ text, width: context.measureText(text).width }))]));
  }

  function draw(progress, dim) {
    let tinyUntil = -1;
    for (const part of picture.parts) {
      const old = shown.get(part.key) ?? part;
      const left = (old.from + (part.from - old.from) * progress) * width;
      const right = (old.to + (part.to - old.to) * progress) * width;
      const isHit = picture.winner !== null && part.address === picture.winner;
      // Of parts thinner than a pixel one a pixel is drawn: together they are a texture.
      if (right - left < 0.7 && part !== mine && !isHit) {
        if (right <= tinyUntil) continue;
        tinyUntil = Math.floor(left) + 1;
        fillPart(part, Math.floor(left), 1, dim);
        continue;
      }
      fillPart(part, left, Math.max(right - left, 1.5), isHit ? 0 : dim);
      if (part === mine) outline(left, right);
      const lines = labels.get(part);
      if (lines) label(lines, left, right, isHit ? 0 : dim);
    }
  }

  function fillPart(part, left, size, dim) {
    // The last part ends where the strip does.
    const gap = size <= 3 || left + size > width - 0.5 ? 0 : size > 8 ? 2 : 1;
    context.globalAlpha = 1 - 0.74 * dim;
    if (part.crowd) return crowd(part, left, size);
    context.fillStyle = part.ghost ? ink.hatch : ink.parts[colourOf(part.order)];
    if (size > 8) {
      context.beginPath();
      context.roundRect(left, 8, size - gap, height - 16, 3);
      context.fill();
    } else {
      context.fillRect(left, 8, size - gap, height - 16);
    }
    if (part.ghost || ink.forced) {
      context.strokeStyle = part.ghost ? ink.accent : ink.ink;
      context.lineWidth = 1;
      if (part.ghost) context.setLineDash([4, 3]);
      context.strokeRect(left + 0.5, 8.5, Math.max(1, size - gap - 1), height - 17);
      context.setLineDash([]);
    }
    context.globalAlpha = 1;
  }

  /** Those who are not known one by one: a texture of thin stripes. */
  function crowd(part, left, size) {
    for (let x = Math.floor(left); x < left + size; x++) {
      context.fillStyle = ink.parts[(x * 7 + part.order) % COLOURS];
      context.fillRect(x, 8, 1, height - 16);
    }
    context.globalAlpha = 1;
  }

  function outline(left, right) {
    context.strokeStyle = ink.ink;
    context.lineWidth = 2;
    context.beginPath();
    // Also the thinnest part is seen, and none is cut at the edge.
    const size = Math.max(right - left + 4, 9);
    context.roundRect(Math.min(Math.max(left - 3, 1), width - size - 1), 4, size, height - 8, Math.min(5, size / 2));
    context.stroke();
  }

  /** Whose part it is and how much of the pot, where there is room, beside the needle. */
  function label(lines, left, right, dim) {
    if (dim > 0.5) return;
    const size = labelSize();
    const needleAt = typeof picture.needle === "number" ? picture.needle * width : -1;
    const start = needleAt > left && needleAt < right ? needleAt : left;
    const room = right - start - 1.3 * size;
    if (lines[0].width >= room) return;
    const fitting = lines.filter((line) => line.width < room);
    context.globalAlpha = 1 - dim;
    context.fillStyle = ink.onParts;
    fitting.reverse().forEach(({ text }, index) => {
      context.fillText(text, start + 0.6 * size, height / 2 + size * (1.4 * (index - (fitting.length - 1) / 2) + 0.35));
    });
    context.globalAlpha = 1;
  }

  function tell(event) {
    const at = (event.clientX - canvas.getBoundingClientRect().left) / Math.max(1, width);
    const part = picture.parts.find(({ from, to }) => at >= from && at < to);
    show(tip, Boolean(part) && !part.ghost);
    if (!part || part.ghost) return;
    setText(tip, part.crowd
      ? `${counted(part.crowd, "small stake")}, together`
      : `${shortHex(part.address)} · ${etherShort(part.wei)} ETH · ${percent(part.wei, picture.totalWei)} · first bet no. ${grouped(part.order + 1)}`);
    tip.style.transform = `translateX(${Math.max(0, Math.min(at * width - tip.offsetWidth / 2, width - tip.offsetWidth))}px)`;
  }

  canvas.addEventListener("pointermove", tell);
  canvas.addEventListener("pointerdown", tell);
  canvas.addEventListener("pointerleave", () => show(tip, false));
  new ResizeObserver(([entry]) => {
    ({ width, height } = entry.contentRect);
    labels = null;
    ask();
  }).observe(canvas);
  const repaint = () => {
    [ink, labels] = [null, null];
    ask();
  };
  for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)", "print"]) matchMedia(query).addEventListener("change", repaint);
  return { update, repaint };
}

const eased = (share) => 1 - (1 - share) ** 3;

function differs(before, after) {
  return before.length !== after.length || before.some((part, index) =>
    part.key !== after[index].key || part.from !== after[index].from || part.to !== after[index].to);
}

/** The strip's colours as the sheet has them at this moment. */
function colours(root) {
  const style = getComputedStyle(root);
  const value = (name) => style.getPropertyValue(name).trim();
  // All at once, so that the sheet is asked once.
  const probes = Array.from({ length: COLOURS }, (_, index) => make("i", { class: `p${index}` }));
  root.append(...probes);
  const parts = probes.map((probe) => getComputedStyle(probe).getPropertyValue("--part").trim());
  probes.forEach((probe) => probe.remove());
  const accent = value("--accent");
  return {
    parts,
    ink: value("--ink"),
    onParts: value("--on-parts"),
    accent,
    hatch: hatched(accent),
    forced: matchMedia("(forced-colors: active)").matches,
    family: style.fontFamily,
  };
}

/** The pattern of a bet that is not made yet. */
function hatched(colour) {
  const tile = new OffscreenCanvas(12, 12);
  const pen = tile.getContext("2d");
  pen.strokeStyle = colour;
  pen.globalAlpha = 0.6;
  pen.lineWidth = 4;
  pen.beginPath();
  for (const shift of [-12, 0, 12]) {
    pen.moveTo(shift - 2, 14);
    pen.lineTo(shift + 14, -2);
  }
  pen.stroke();
  return pen.createPattern(tile, "repeat");
}
