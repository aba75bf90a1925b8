/** Code blocks: literal text with a Copy button, and the words of SQL told apart by colour. */
import { h, icon } from "./dom.js";

const KEYWORDS = new Set(
  ("select from where and or not in is null like between exists case when then else end as on using join inner left right full outer cross " +
    "group by order having limit offset distinct union all insert into values update set delete replace create alter drop table index view " +
    "begin start transaction commit rollback for share lock mode with recursive explain analyze show kill query connection call if asc desc " +
    "primary key default interval true false count sum avg min max now sleep over partition hint identified user grant to").split(" "),
);
const SQL_TOKEN =
  /(?<comment>\/\*[\s\S]*?\*\/|--[^\n]*|#[^\n]*)|(?<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")|(?<quoted>`[^`]*`)|(?<number>\b\d+(?:\.\d+)?\b)|(?<word>[A-Za-z_]\w*)/g;

function sqlNodes(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(SQL_TOKEN)) {
    const kind = Object.keys(match.groups).find((name) => match.groups[name] !== undefined);
    if (kind === "word" && !KEYWORDS.has(match[0].toLowerCase())) continue;
    nodes.push(text.slice(end, match.index), h("span", { class: `sql-${kind}` }, match[0]));
    end = match.index + match[0].length;
  }
  return [...nodes, text.slice(end)];
}

async function copy(text, button) {
  const area = h("textarea", { class: "offscreen", "aria-hidden": "true" });
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages outside loopback and https have no clipboard; the old command still works there.
    area.value = text;
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.lastChild.textContent = "Copied";
  setTimeout(() => { button.lastChild.textContent = "Copy"; }, 2000);
}

/** A block of code; `content` replaces the text where it holds links or mentions. */
export function codeBlock(text, language = "", content = null) {
  const nodes = content ?? (language.toLowerCase() === "sql" ? sqlNodes(text) : [text]);
  const button = h("button", { type: "button", class: "copy", onclick: () => copy(text, button) }, icon("copy"), h("span", {}, "Copy"));
  return h("div", { class: "code-frame" }, h("pre", { class: "code-block", "data-language": language || null }, h("code", {}, ...nodes)), button);
}
