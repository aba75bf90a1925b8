/** Block Kit blocks as DOM nodes, kept in place while a message or modal is updated. */
import { chart } from "./charts.js";
import { freshId, h, icon } from "./dom.js";
import { control } from "./elements.js";
import { closeMenuIn } from "./menu.js";
import { markdown } from "./markdown.js";
import { textNodes } from "./mrkdwn.js";
import { richText } from "./richtext.js";
import { dataTable, table } from "./tables.js";

function notShown(kind, type) {
  return h("p", { class: "not-shown" }, `This ${kind} type is not shown here: ${type}`);
}

function element(each, block, surface) {
  if (each.type === "image") return image(each);
  return control(each, { surface, block, acts: true }) ?? notShown("element", each.type);
}

/** Only pictures of our own origin are fetched; others are named and linked. */
function image({ image_url: url, alt_text: alt }) {
  const address = URL.parse(url ?? "", location.href);
  if (address?.origin === location.origin) return h("img", { src: address.href, alt });
  const text = alt || "Image";
  return /^https?:$/.test(address?.protocol) ? h("a", { class: "image-link", href: url, target: "_blank", rel: "noopener noreferrer" }, text) : h("span", { class: "image-link" }, text);
}

function section(block, surface) {
  const fields = (block.fields ?? []).map((field) => h("div", { class: "text" }, ...textNodes(field)));
  return h("div", { class: "section" },
    h("div", { class: "section-body" },
      block.text ? h("div", { class: "text" }, ...textNodes(block.text)) : null,
      fields.length ? h("div", { class: "fields" }, ...fields) : null),
    block.accessory ? h("div", { class: "accessory" }, element(block.accessory, block, surface)) : null);
}

/** A message's headings stand below the page's own; the level still shows. */
function header(block) {
  const level = block.level ?? 1;
  return h(`h${Math.min(6, level + 2)}`, { class: `header level-${level}` }, ...textNodes(block.text));
}

function context(block) {
  return h("div", { class: "context" }, ...block.elements.map((each) =>
    each.type === "image" ? image(each) : h("span", { class: "text" }, ...textNodes(each))));
}

function imageBlock(block) {
  const title = block.title ? h("figcaption", {}, ...textNodes(block.title)) : null;
  return h("figure", {}, title, image(block));
}

function input(block, surface) {
  const label = freshId("label");
  const hint = freshId("hint");
  const error = freshId("error");
  const place = { surface, block, acts: Boolean(block.dispatch_action), labelledBy: label, describedBy: `${hint} ${error}` };
  return h("div", { class: "input", "data-block": block.block_id },
    h("div", { class: "label", id: label }, ...textNodes(block.label), block.optional ? h("span", { class: "optional" }, " (optional)") : null),
    control(block.element, place) ?? notShown("element", block.element.type),
    h("p", { class: "hint", id: hint, hidden: !block.hint }, ...textNodes(block.hint)),
    h("p", { class: "error", id: error, role: "alert", hidden: true }));
}

const ALERT_ICONS = { success: "tick", warning: "warning", error: "warning" };

function alert(block) {
  const level = block.level ?? "default";
  return h("div", { class: `alert ${level}`, role: "note" }, icon(ALERT_ICONS[level] ?? "info"), h("div", { class: "text" }, ...textNodes(block.text)));
}

function card(block, surface) {
  const line = (name, text) => (text ? h("div", { class: `card-${name} text` }, ...textNodes(text)) : null);
  const actions = (block.actions ?? []).map((each) => element(each, block, surface));
  return h("div", { class: "card" },
    block.hero_image ? image(block.hero_image) : null,
    line("title", block.title), line("subtitle", block.subtitle), line("body", block.body),
    actions.length ? h("div", { class: "actions" }, ...actions) : null,
    line("subtext", block.subtext));
}

function container(block, surface) {
  const title = block.rich_text_title ? richText(block.rich_text_title) : h("span", {}, ...textNodes(block.title));
  const inside = h("div", { class: "container-body blocks" });
  renderBlocks(inside, block.child_blocks, surface);
  const subtitle = block.subtitle ? h("div", { class: "container-subtitle text" }, ...textNodes(block.subtitle)) : null;
  if (!block.is_collapsible) return h("div", { class: "container" }, h("div", { class: "container-title" }, title), subtitle, inside);
  return h("details", { class: "container", open: !block.default_collapsed }, h("summary", { class: "container-title" }, title), subtitle, inside);
}

const BLOCKS = {
  section,
  header,
  context,
  input,
  alert,
  card,
  container,
  table,
  data_table: dataTable,
  data_visualization: chart,
  divider: () => h("hr"),
  actions: (block, surface) => h("div", { class: "actions" }, ...block.elements.map((each) => element(each, block, surface))),
  image: imageBlock,
  rich_text: richText,
  markdown: (block) => markdown(block.text),
  carousel: (block, surface) => h("div", { class: "carousel" }, ...block.elements.map((each) => card(each, surface))),
};

function blockNode(block, surface) {
  const render = BLOCKS[block.type];
  return h("div", { class: "block" }, render ? render(block, surface) : notShown("block", block.type));
}

/** Shows these blocks; the nodes of unchanged ones stay, so their focus, scroll and open lists do too. */
export function renderBlocks(node, blocks, surface) {
  const old = [...node.children].map((child) => ({ child, json: child.blockJson }));
  const next = blocks.map((block) => {
    const json = JSON.stringify(block);
    const same = old.findIndex((each) => each.json === json);
    if (same >= 0) return old.splice(same, 1)[0].child;
    const child = blockNode(block, surface);
    child.blockJson = json;
    return child;
  });
  const focused = old.map(({ child }) => focusIn(child)).find(Boolean);
  // One table per message is all that Slack takes, so the first is the only one.
  const scrolled = old.map(({ child }) => child.querySelector(".table-frame")?.scrollLeft).find(Boolean);
  for (const { child } of old) {
    closeMenuIn(child);
    child.remove();
  }
  next.forEach((child, index) => node.children[index] !== child && node.insertBefore(child, node.children[index] ?? null));
  const frame = scrolled && node.querySelector(".table-frame");
  if (frame) frame.scrollLeft = scrolled;
  if (focused) restoreFocus(node, focused);
}

function focusIn(node) {
  const active = document.activeElement;
  if (!node.contains(active) || !active.dataset.at) return null;
  return { at: active.dataset.at, caret: active.selectionStart };
}

/** Blocks without an id of their own get a new one with each update; the action's id is then the next best. */
function restoreFocus(node, { at, caret }) {
  const action = (text) => JSON.parse(text)[1];
  const controls = [...node.querySelectorAll("[data-at]")];
  const again = controls.find((each) => each.dataset.at === at) ?? controls.find((each) => action(each.dataset.at) === action(at));
  again?.focus({ preventScroll: true });
  if (again && caret !== null && caret !== undefined) again.setSelectionRange?.(caret, caret);
}
