/** The table and data_table blocks as real tables that scroll sideways inside their message. */
import { h } from "./dom.js";
import { richText } from "./richtext.js";

function cellContent(cell) {
  return cell.type === "rich_text" ? richText(cell) : document.createTextNode(cell.text ?? String(cell.value));
}

function cellNode(tag, cell, column, attributes = {}) {
  const classes = [`align-${column.align ?? "left"}`, column.is_wrapped ? "wrapped" : "single-line"];
  const content = cellContent(cell);
  // A line that does not fit is cut with dots; pointing at it shows the rest.
  const title = column.is_wrapped ? null : content.textContent;
  return h(tag, { ...attributes, class: classes.join(" ") }, h("div", { class: "cell", title }, content));
}

function frame(table) {
  return h("div", { class: "table-frame" }, table);
}

/** The first row is the header by convention. */
export function table(block) {
  const column = (index) => block.column_settings?.[index] ?? {};
  const [head, ...rows] = block.rows;
  const header = h("tr", {}, ...head.map((cell, index) => cellNode("th", cell, column(index), { scope: "col" })));
  const body = rows.map((row) => h("tr", {}, ...row.map((cell, index) => cellNode("td", cell, column(index)))));
  return frame(h("table", {}, h("thead", {}, header), h("tbody", {}, ...body)));
}

/** Rows in pages of `page_size` (Slack's default is 5); one column names its row. */
export function dataTable(block) {
  const [head, ...rows] = block.rows;
  const size = block.page_size ?? 5;
  const naming = block.row_header_column_index ?? 0;
  const column = (cell) => ({ align: cell.type === "raw_number" ? "right" : "left" });
  const alike = (index) => (rows.every((row) => row[index].type === "raw_number") ? { align: "right" } : {});
  const line = (row) =>
    h("tr", {}, ...row.map((cell, index) =>
      index === naming ? cellNode("th", cell, column(cell), { scope: "row" }) : cellNode("td", cell, column(cell))));
  const header = h("tr", {}, ...head.map((cell, index) => cellNode("th", cell, alike(index), { scope: "col" })));
  const body = h("tbody");
  const whole = h("table", {}, h("caption", {}, block.caption), h("thead", {}, header), body);
  const pager = h("div", { class: "pager" });
  const show = (first) => {
    body.replaceChildren(...rows.slice(first, first + size).map(line));
    fillPager(pager, { first, size, total: rows.length, show });
  };
  show(0);
  return h("div", { class: "data-table" }, frame(whole), rows.length > size ? pager : null);
}

function fillPager(pager, { first, size, total, show }) {
  const button = (text, to, possible) =>
    h("button", { type: "button", class: "button small", disabled: !possible, onclick: () => {
      show(to);
      (pager.querySelector(`[data-turn="${text}"]:enabled`) ?? pager.querySelector("button:enabled")).focus();
    }, "data-turn": text }, text);
  pager.replaceChildren(
    h("span", { role: "status" }, `${first + 1}–${Math.min(first + size, total)} of ${total}`),
    button("Previous", first - size, first > 0),
    button("Next", first + size, first + size < total),
  );
}
