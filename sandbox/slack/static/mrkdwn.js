/** Slack's mrkdwn as DOM nodes: what is escaped stays text, what is not becomes a visible mention or link. */
import { dateNode } from "./dates.js";
import { directory } from "./directory.js";
import { h } from "./dom.js";
import { withEmoji } from "./emoji.js";

const STYLES = { "*": "strong", _: "em", "~": "s" };
const WORD = /[\p{L}\p{N}]/u;

/** Slack decodes exactly these three, once. */
export function decode(text) {
  return text.replace(/&(amp|lt|gt);/g, (_, name) => ({ amp: "&", lt: "<", gt: ">" })[name]);
}

export function mrkdwn(text, { verbatim = false } = {}) {
  const fragment = document.createDocumentFragment();
  let end = 0;
  for (const fence of text.matchAll(/```([\s\S]+?)```/g)) {
    fragment.append(...lines(text.slice(end, fence.index).replace(/\n$/, ""), verbatim));
    fragment.append(h("pre", { class: "code-block" }, h("code", {}, ...codeNodes(fence[1].replace(/^\n|\n$/g, "")))));
    end = fence.index + fence[0].length;
    if (text[end] === "\n") end += 1;
  }
  fragment.append(...lines(text.slice(end), verbatim));
  return fragment;
}

/** Lines in a row; those that begin with > are gathered into quotes. */
function lines(text, verbatim) {
  if (text === "") return [];
  const nodes = [];
  let quote = null;
  let broken = false;
  for (const line of text.split("\n")) {
    const quoted = /^(?:>|&gt;) ?(.*)$/.exec(line);
    if (quoted && quote) quote.append("\n", ...inline(quoted[1], verbatim));
    else if (quoted) nodes.push((quote = h("blockquote", {}, ...inline(quoted[1], verbatim))));
    else nodes.push(...(broken && !quote ? ["\n"] : []), ...inline(line, verbatim));
    if (!quoted) quote = null;
    broken = true;
  }
  return nodes;
}

/** One line: code, <…> tokens, bare links, styles, entities, emoji. */
function inline(text, verbatim) {
  const nodes = [];
  let plain = "";
  const put = (node) => {
    nodes.push(...withEmoji(decode(plain)), node);
    plain = "";
  };
  for (let at = 0; at < text.length; ) {
    const found = special(text, at, verbatim);
    if (found) put(found.node);
    else plain += text[at];
    at = found ? found.end : at + 1;
  }
  return [...nodes, ...withEmoji(decode(plain))];
}

function special(text, at, verbatim) {
  const matchAt = (pattern) => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };
  const character = text[at];
  if (character === "`") {
    const code = matchAt(/`([^`]+)`/y);
    return code && { node: h("code", {}, ...codeNodes(code[1])), end: at + code[0].length };
  }
  if (character === "<") {
    const angle = matchAt(/<([^<>\n]+)>/y);
    const node = angle && angleNode(angle[1]);
    return node && { node, end: at + angle[0].length };
  }
  if (character === "h" && !verbatim && !WORD.test(text[at - 1] ?? "")) {
    const url = matchAt(/https?:\/\/[^\s<>|]*[^\s<>|.,;:!?)*_~]/y);
    return url && { node: link(decode(url[0]), decode(url[0])), end: at + url[0].length };
  }
  if (character in STYLES) {
    const end = closing(text, at);
    return end && { node: h(STYLES[character], {}, ...inline(text.slice(at + 1, end), verbatim)), end: end + 1 };
  }
  return null;
}

/** Where the style opened at `at` ends, or 0: delimiters stand at the edges of words, as in Slack. */
function closing(text, at) {
  const mark = text[at];
  if (WORD.test(text[at - 1] ?? "") || /[\s]/.test(text[at + 1] ?? " ") || text[at + 1] === mark) return 0;
  for (let end = at + 2; end < text.length; end += 1) {
    const pair = { "`": "`", "<": ">" }[text[end]];
    const partner = pair ? text.indexOf(pair, end + 1) : -1;
    if (partner > 0) end = partner;
    else if (text[end] === mark && !/\s/.test(text[end - 1]) && !WORD.test(text[end + 1] ?? "")) return end;
  }
  return 0;
}

/** Inside code only <…> tokens and entities are read: an unescaped mention in a statement must show. */
function codeNodes(text) {
  return text.split(/(<[^<>\n]+>)/).map((piece) => {
    const token = /^<(.+)>$/s.exec(piece);
    return (token && angleNode(token[1])) || decode(piece);
  });
}

function angleNode(token) {
  const [target, label] = halves(token, "|");
  if (target.startsWith("@")) return userMention(target.slice(1), label && decode(label));
  if (target.startsWith("#")) return mention(`#${directory.channelName(target.slice(1)) ?? label ?? target.slice(1)}`);
  if (target.startsWith("!date^")) return dateToken(target, label ?? "");
  if (target.startsWith("!subteam^")) return mention(label ? `@${label.replace(/^@/, "")}` : `@${target.slice(9)}`);
  if (/^!(here|channel|everyone)$/.test(target)) return mention(`@${target.slice(1)}`, "broadcast");
  if (target.startsWith("!")) return mention(label ? decode(label) : target);
  return linkable(target) ? link(decode(target), decode(label ?? target.replace(/^(mailto|tel):/, ""))) : null;
}

function halves(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

function dateToken(target, fallback) {
  const [, seconds, format, url] = target.split("^");
  const node = dateNode(seconds, format ?? "", decode(fallback));
  return url && linkable(url) ? link(decode(url), node) : node;
}

const linkable = (url) => /^(https?:\/\/|mailto:|tel:)/i.test(url);

/** Anything but web, mail and telephone addresses is shown as text. */
export function link(url, content) {
  const shown = typeof content === "string" ? withEmoji(content) : [content];
  if (!linkable(url)) return h("span", {}, ...shown);
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, ...shown);
}

export function mention(text, kind = "") {
  return h("span", { class: `mention ${kind}`.trim() }, text);
}

export function userMention(id, label) {
  return mention(`@${directory.userName(id) ?? label ?? id}`, id === directory.self ? "own" : "");
}

/** A Block Kit text object (or bare string) as nodes. */
export function textNodes(text) {
  if (!text) return [];
  if (typeof text === "string") return withEmoji(text);
  if (text.type === "mrkdwn") return [mrkdwn(text.text, { verbatim: text.verbatim })];
  return text.emoji === false ? [text.text] : withEmoji(text.text);
}
