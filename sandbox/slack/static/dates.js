/** Times as Slack writes them, in the reader's zone: message times and <!date^…> tokens. */
import { h } from "./dom.js";

const DAY = 86_400_000;

const parts = (date, options) => new Intl.DateTimeFormat("en-US", options).format(date);

function ordinal(day) {
  if (day % 100 >= 11 && day % 100 <= 13) return `${day}th`;
  return `${day}${["th", "st", "nd", "rd"][day % 10] ?? "th"}`;
}

function dateNumber(date) {
  const two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

const plainDate = (date) =>
  `${parts(date, { month: "long" })} ${ordinal(date.getDate())}, ${date.getFullYear()}`;
const shortDate = (date) => parts(date, { month: "short", day: "numeric", year: "numeric" });
const longDate = (date) => `${parts(date, { weekday: "long" })}, ${plainDate(date)}`;

function pretty(date, otherwise) {
  const midnight = new Date(new Date().toDateString());
  const days = Math.round((new Date(date.toDateString()) - midnight) / DAY);
  return { "-1": "yesterday", 0: "today", 1: "tomorrow" }[days] ?? otherwise(date);
}

export function clock(date, seconds = false) {
  const options = { hour: "numeric", minute: "2-digit" };
  if (seconds) options.second = "2-digit";
  return new Intl.DateTimeFormat(undefined, options).format(date);
}

function ago(date) {
  const seconds = Math.round((date - Date.now()) / 1000);
  const size = Math.abs(seconds);
  const [unit, length] = [["day", 86400], ["hour", 3600], ["minute", 60]].find(([, many]) => size >= many) ?? ["second", 1];
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  return relative.format(Math.round(seconds / length), unit);
}

const TOKENS = {
  date_num: dateNumber,
  date: plainDate,
  date_short: shortDate,
  date_long: longDate,
  date_pretty: (date) => pretty(date, plainDate),
  date_short_pretty: (date) => pretty(date, shortDate),
  date_long_pretty: (date) => pretty(date, longDate),
  day_divider_pretty: (date) => pretty(date, longDate),
  time: (date) => clock(date),
  time_secs: (date) => clock(date, true),
  ago,
};

function formatted(date, format) {
  return format.replace(/\{(\w+)\}/g, (whole, token) => TOKENS[token]?.(date) ?? whole);
}

/** A <time> for seconds since 1970 and a format of Slack's tokens; the fallback when the number is none. */
export function dateNode(seconds, format, fallback) {
  const date = new Date(seconds * 1000);
  if (!/^\d+$/.test(String(seconds)) || Number.isNaN(date.getTime())) return document.createTextNode(fallback);
  const node = h("time", { datetime: date.toISOString(), title: date.toLocaleString() }, formatted(date, format));
  if (format.includes("{ago}")) node.dataset.format = format;
  return node;
}

/** Says relative times anew; called every few seconds. */
export function refreshRelativeTimes() {
  for (const node of document.querySelectorAll("time[data-format]")) {
    node.textContent = formatted(new Date(node.dateTime), node.dataset.format);
  }
}

export function dayName(date) {
  const name = pretty(date, longDate);
  return name[0].toUpperCase() + name.slice(1);
}
