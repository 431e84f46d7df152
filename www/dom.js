// The few ways in which the page writes to its document. Text goes in as text, never as markup, and nothing is written
// that is already there, so that an update costs what it changes.

export const byId = (id) => document.getElementById(id);

/** An element: make("a", { href: "#" }, "text", child). A null attribute or child is left out. */
export function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) setAttribute(node, name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** A button with what it does. */
export function button(words, attributes, act) {
  const node = make("button", { type: "button", ...attributes }, words);
  node.addEventListener("click", act);
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** null removes the attribute. */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** Replaces a node's only child when one of `sources`, which are all that `build` reads, is another than it was last filled from. */
export function fill(node, sources, build) {
  if (isSame(filledFrom.get(node), sources)) return;
  filledFrom.set(node, sources);
  const content = build();
  keepingFocus(node, () => node.replaceChildren(...(content === null ? [] : [content])));
}

const filledFrom = new WeakMap();

/** Whether what was drawn from `known` would be drawn alike from `sources`. */
export function isSame(known, sources) {
  return known?.every((source, index) => source === sources[index]) ?? false;
}

/**
 * Makes the children of `parent` those of `items`, in order, by key: known rows are updated and moved only when out of
 * order. `create(item)` answers {node, update(item, index)}.
 */
export function keyed(parent, items, keyOf, create) {
  // What the server has put there only kept the room.
  if (!rowsOf.has(parent)) parent.replaceChildren();
  const known = rowsOf.get(parent) ?? new Map();
  const rows = new Map();
  keepingFocus(parent, () => {
    let next = parent.firstElementChild;
    items.forEach((item, index) => {
      const key = keyOf(item);
      const row = known.get(key) ?? create(item);
      known.delete(key);
      rows.set(key, row);
      row.update(item, index);
      if (row.node === next) next = next.nextElementSibling;
      else parent.insertBefore(row.node, next);
    });
    for (const row of known.values()) row.node.remove();
  });
  rowsOf.set(parent, rows);
}

const rowsOf = new WeakMap();

/** Whoever reads with the keyboard stays where they were when what has the focus is moved, or goes to its surroundings. */
function keepingFocus(parent, change) {
  const focused = document.activeElement;
  const isInside = focused !== null && focused !== parent && parent.contains(focused);
  change();
  if (!isInside || document.activeElement === focused) return;
  if (focused.isConnected) focused.focus({ preventScroll: true });
  else moveFocus(parent);
}

/** Puts the focus on the nearest surroundings of `node` that can have it. */
export function moveFocus(node) {
  const target = node.closest("[tabindex], section, dialog") ?? document.body;
  if (!target.hasAttribute("tabindex")) target.tabIndex = -1;
  target.focus({ preventScroll: true });
}

/** A list of names and values: [[name, node or text], ...]; an entry whose value is null is left out. */
export function facts(entries) {
  const kept = entries.filter(([, value]) => value !== null);
  return make("dl", { class: "facts" }, ...kept.map(([name, value]) =>
    make("div", null, make("dt", null, name), make("dd", null, value))));
}

/** A one-row pager; `turn(page)` is called with a page from 0. Answers {node, update(page, pages, words)}. */
export function pager(name, turn) {
  let current = 0;
  const previous = button("‹ Previous", { "aria-label": `Previous page of ${name}` }, () => turn(current - 1));
  const next = button("Next ›", { "aria-label": `Next page of ${name}` }, () => turn(current + 1));
  const words = make("span", { role: "status" });
  const node = make("nav", { class: "pager", "aria-label": `Pages of ${name}`, hidden: "" }, previous, words, next);
  return {
    node,
    update(page, pages, text) {
      current = page;
      const focused = document.activeElement;
      show(node, pages > 1);
      previous.disabled = page <= 0;
      next.disabled = page >= pages - 1;
      if (focused === previous && previous.disabled) next.focus();
      if (focused === next && next.disabled) previous.focus();
      setText(words, text);
    },
  };
}

/** Text of strangers, set apart so that its direction of writing cannot disturb ours. */
export function foreign(text) {
  return make("bdi", null, String(text));
}

/** Copies, and says on the button, whose words are else `words`, what came of it; answers that. */
export async function copyBy(copy, words, text, node) {
  const said = (await copyText(text, node)) ? "Copied" : "Select and copy it by hand";
  setText(copy, said);
  setTimeout(() => setText(copy, words), 2000);
  return said;
}

/** Writes to the clipboard; without one (no https) the text is at least selected where it stands. */
export async function copyText(text, node) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(node);
    return document.execCommand("copy");
  }
}
