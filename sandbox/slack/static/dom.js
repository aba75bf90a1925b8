/** Building DOM nodes: everything that is shown passes here, so no text is ever read as HTML. */

/** An element; `on…` attributes are listeners, false and null ones are left out, true ones are empty. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const ICONS = {
  bot: "M12 3c4 0 7 1.2 7 2.8v12.4c0 1.6-3 2.8-7 2.8s-7-1.2-7-2.8V5.8C5 4.2 8 3 12 3zM5 6c0 1.6 3 2.8 7 2.8S19 7.6 19 6M5 12c0 1.6 3 2.8 7 2.8s7-1.2 7-2.8",
  close: "M6 6l12 12M18 6L6 18",
  chevron: "M6 9l6 6 6-6",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  eye: "M2 12s4-6.5 10-6.5S22 12 22 12s-4 6.5-10 6.5S2 12 2 12zM12 9.2a2.8 2.8 0 100 5.6 2.8 2.8 0 000-5.6z",
  info: "M12 3a9 9 0 100 18 9 9 0 000-18zM12 11v5M12 8v.01",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 017 0v3",
  menu: "M4 7h16M4 12h16M4 17h16",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  send: "M4 4l17 8-17 8 3-8zM7 12h8",
  tick: "M5 12.5l4.5 4.5L19 7.5",
  warning: "M12 4l9 16H3zM12 10v4.5M12 17.3v.2",
};

/** One of our line icons; it is decoration, the control beside it carries the name. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return fill(svg, { viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" }, []);
}

let lastId = 0;

/** An id for aria references, never used twice on this page. */
export function freshId(stem) {
  lastId += 1;
  return `${stem}-${lastId}`;
}

/** A square with initials, or the bot's emblem. */
export function avatar({ name, color, isBot }) {
  const node = h("span", { class: isBot ? "avatar bot" : "avatar", "aria-hidden": "true" });
  if (isBot) node.append(icon("bot"));
  else node.append(initials(name));
  if (color && !isBot) node.style.backgroundColor = color.startsWith("#") ? color : `#${color}`;
  return node;
}

function initials(name) {
  return name.split(/\s+/).slice(0, 2).map((word) => word[0] ?? "").join("").toUpperCase();
}
