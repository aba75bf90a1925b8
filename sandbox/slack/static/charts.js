/** The data_visualization block: every kind of chart as bars with their values, which also reads well on a phone. */
import { h } from "./dom.js";

/** Slack draws pies, areas and lines as such; what they say is the same. */
export function chart({ title, chart: { segments, series, axis_config: axis } }) {
  const rows = segments
    ? segments.map(({ label, value }) => ({ label, values: [value] }))
    : axis.categories.map((label) => ({ label, values: series.map(({ data }) => data.find((point) => point.label === label).value) }));
  const names = segments ? [] : series.map(({ name }) => name);
  const most = Math.max(1, ...rows.map(({ values }) => values.reduce((sum, value) => sum + Math.max(0, value), 0)));
  return h("figure", { class: "chart", role: "group", "aria-label": title },
    h("figcaption", {}, title),
    names.length > 1 ? h("div", { class: "chart-legend" }, ...names.map((name, index) => h("span", { class: `series-${index % 4}` }, name))) : null,
    ...rows.map((row) => bar(row, names, most)));
}

function bar({ label, values }, names, most) {
  const said = values.map((value, index) => (names[index] ? `${names[index]} ${value}` : `${value}`)).join(", ");
  return h("div", { class: "chart-row", role: "img", "aria-label": `${label}: ${said}` },
    h("span", { class: "chart-label", title: label }, label),
    h("span", { class: "chart-bars" }, ...values.map((value, index) => part(value, index, most))),
    h("span", { class: "chart-value" }, values.map((value) => value.toLocaleString("en")).join(" + ")));
}

function part(value, index, most) {
  const node = h("span", { class: `chart-bar series-${index % 4}` });
  node.style.width = `${(Math.max(0, value) / most) * 100}%`;
  return node;
}
