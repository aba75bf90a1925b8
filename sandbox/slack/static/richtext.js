/** The rich_text block: sections, lists, quotes and preformatted text, whose content is always literal. */
import { codeBlock } from "./code.js";
import { dateNode } from "./dates.js";
import { directory } from "./directory.js";
import { h } from "./dom.js";
import { emojiNode } from "./emoji.js";
import { link, mention, userMention } from "./mrkdwn.js";

const STYLE_TAGS = { code: "code", strike: "s", underline: "u", italic: "em", bold: "strong" };

const INLINE = {
  text: (element) => document.createTextNode(element.text),
  link: (element) => link(element.url, document.createTextNode(element.text || element.url)),
  user: (element) => userMention(element.user_id),
  channel: (element) => mention(`#${directory.channelName(element.channel_id) ?? element.channel_id}`),
  usergroup: (element) => mention(`@${element.usergroup_id}`),
  broadcast: (element) => mention(`@${element.range}`, "broadcast"),
  emoji: (element) => emojiNode(element.name),
  date: (element) => dateNode(element.timestamp, element.format, element.fallback ?? ""),
  color: (element) => document.createTextNode(element.value),
};

function inlineNode(element) {
  const render = INLINE[element.type];
  if (!render) return document.createTextNode(`[${element.type}]`);
  const styles = Object.keys(STYLE_TAGS).filter((style) => element.style?.[style]);
  return styles.reduce((node, style) => h(STYLE_TAGS[style], {}, node), render(element));
}

const inlineNodes = (elements) => elements.map(inlineNode);

function list(part) {
  const ordered = part.style === "ordered";
  const start = ordered && part.offset ? part.offset + 1 : null;
  const items = part.elements.map((item) => h("li", {}, ...inlineNodes(item.elements)));
  const kind = `rich-list indent-${part.indent ?? 0}${part.border ? " bordered" : ""}`;
  return h(ordered ? "ol" : "ul", { class: kind, start }, ...items);
}

function preformatted(part) {
  const literal = part.elements.every((element) => element.type === "text");
  const text = part.elements.map((element) => element.text ?? element.url ?? "").join("");
  return codeBlock(text, part.language, literal ? null : inlineNodes(part.elements));
}

const PARTS = {
  rich_text_section: (part) => h("div", { class: "rich-section" }, ...inlineNodes(part.elements)),
  rich_text_list: list,
  rich_text_quote: (part) => h("blockquote", {}, ...inlineNodes(part.elements)),
  rich_text_preformatted: preformatted,
};

export function richText(block) {
  return h("div", { class: "rich-text" }, ...block.elements.map((part) => PARTS[part.type]?.(part) ?? `[${part.type}]`));
}
