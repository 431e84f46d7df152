// The few ways in which the page writes to its document. Text goes in as text, never as markup, and nothing is written
// that is already there, so that an update costs what it changes.

/** An element: make("a", { href: "#" }, "text", child). A null attribute or child is left out. */
export function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) setAttribute(node, name, value);
  node.append(...children.filter((child) => child !== null));
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

/** Replaces a node's only child when `key` differs from the one it was last filled for. */
export function fill(node, key, build) {
  if (filledFor.get(node) === key) return;
  filledFor.set(node, key);
  const content = build();
  node.replaceChildren(...(content === null ? [] : [content]));
}

const filledFor = new WeakMap();

/**
 * Makes the children of `parent` those of `items`, in order, by key: known rows are updated and moved only when out of
 * place. `create(item)` answers {node, update(item, index)}.
 */
export function keyed(parent, items, keyOf, create) {
  const known = rowsOf.get(parent) ?? new Map();
  const rows = new Map();
  let place = parent.firstElementChild;
  items.forEach((item, index) => {
    const key = keyOf(item);
    const row = known.get(key) ?? create(item);
    known.delete(key);
    rows.set(key, row);
    row.update(item, index);
    if (row.node === place) {
      place = place.nextElementSibling;
    } else {
      parent.insertBefore(row.node, place);
    }
  });
  for (const row of known.values()) row.node.remove();
  rowsOf.set(parent, rows);
}

const rowsOf = new WeakMap();

/** A list of names and values: [[name, node or text], ...]; an entry whose value is null is left out. */
export function facts(entries) {
  const kept = entries.filter(([, value]) => value !== null);
  return make("dl", { class: "facts" }, ...kept.map(([name, value]) =>
    make("div", null, make("dt", null, name), make("dd", null, value))));
}

/** A one-row pager; `turn(page)` is called with a page from 0. Answers {node, update(page, pages, words)}. */
export function pager(name, turn) {
  const previous = make("button", { type: "button", "aria-label": `Previous page of ${name}` }, "‹ Previous");
  const next = make("button", { type: "button", "aria-label": `Next page of ${name}` }, "Next ›");
  const words = make("span", { role: "status" });
  const node = make("nav", { class: "pager", "aria-label": `Pages of ${name}` }, previous, words, next);
  let current = 0;
  previous.addEventListener("click", () => turn(current - 1));
  next.addEventListener("click", () => turn(current + 1));
  return {
    node,
    update(page, pages, text) {
      current = page;
      show(node, pages > 1);
      previous.disabled = page <= 0;
      next.disabled = page >= pages - 1;
      setText(words, text);
    },
  };
}
