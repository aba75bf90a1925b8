/** The markdown block: the part of standard Markdown that bots write, as DOM nodes. */
import { codeBlock } from "./code.js";
import { h } from "./dom.js";
import { withEmoji } from "./emoji.js";
import { link } from "./mrkdwn.js";

const INLINE =
  /(?<code>`[^`]+`)|\[(?<label>[^\]]+)\]\((?<url>[^)\s]+)\)|\*\*(?<bold>.+?)\*\*|~~(?<strike>.+?)~~|(?<![\w*])[*_](?<italic>[^*_]+?)[*_](?![\w*])/g;

function inline(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(...withEmoji(text.slice(end, match.index)), styled(match.groups));
    end = match.index + match[0].length;
  }
  return [...nodes, ...withEmoji(text.slice(end))];
}

function styled({ code, label, url, bold, strike, italic }) {
  if (code) return h("code", {}, code.slice(1, -1));
  if (url) return link(url, label);
  if (bold) return h("strong", {}, ...inline(bold));
  if (strike) return h("s", {}, ...inline(strike));
  return h("em", {}, ...inline(italic));
}

const cells = (line) => line.replace(/^\s*\||\|\s*$/g, "").split("|").map((cell) => cell.trim());

function table(rows) {
  const row = (line, tag, attributes) => h("tr", {}, ...cells(line).map((cell) => h(tag, attributes, ...inline(cell))));
  const body = rows.slice(2).map((line) => row(line, "td", {}));
  return h("div", { class: "table-frame" }, h("table", {}, h("thead", {}, row(rows[0], "th", { scope: "col" })), h("tbody", {}, ...body)));
}

function listItem(line) {
  const task = /^\[([ xX])\] (.*)$/.exec(line);
  if (!task) return h("li", {}, ...inline(line));
  const box = h("input", { type: "checkbox", disabled: true, checked: task[1] !== " ", "aria-label": task[2] });
  return h("li", { class: "task" }, box, ...inline(task[2]));
}

/** What begins at a line: how many lines it takes, and what they become. */
const KINDS = [
  [/^(#{1,6}) (.*)$/, 0, (lines, [, marks, text]) => h(`h${marks.length}`, {}, ...inline(text))],
  [/^(?:---+|\*\*\*+|___+)$/, 0, () => h("hr")],
  [/^> ?/, /^> ?/, (lines) => h("blockquote", {}, ...inline(lines.map((line) => line.replace(/^> ?/, "")).join("\n")))],
  [/^\s*[-*+] /, /^\s*[-*+] /, (lines) => h("ul", {}, ...lines.map((line) => listItem(line.replace(/^\s*[-*+] /, ""))))],
  [/^\s*\d+[.)] /, /^\s*\d+[.)] /, (lines) => h("ol", {}, ...lines.map((line) => listItem(line.replace(/^\s*\d+[.)] /, ""))))],
  [/^\s*\|.*\|\s*$/, /^\s*\|.*\|\s*$/, table],
];

export function markdown(text) {
  const lines = text.split("\n");
  const nodes = [];
  for (let at = 0; at < lines.length; ) {
    const fence = /^```(\w*)\s*$/.exec(lines[at]);
    if (fence) {
      const close = lines.indexOf("```", at + 1);
      const end = close < 0 ? lines.length : close;
      nodes.push(codeBlock(lines.slice(at + 1, end).join("\n"), fence[1]));
      at = end + 1;
      continue;
    }
    const kind = KINDS.find(([start]) => start.test(lines[at]));
    const more = kind ? kind[1] : /^(?!\s*$|#{1,6} |```|> |\s*[-*+] |\s*\d+[.)] |\s*\|)/;
    let end = at + 1;
    while (more && lines[at].trim() !== "" && end < lines.length && more.test(lines[end])) end += 1;
    const taken = lines.slice(at, end);
    if (kind) nodes.push(kind[2](taken, kind[0].exec(taken[0])));
    else if (taken[0].trim() !== "") nodes.push(h("p", {}, ...inline(taken.join("\n"))));
    at = end;
  }
  return h("div", { class: "markdown" }, ...nodes);
}
