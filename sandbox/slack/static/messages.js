/** The messages of one channel: drawn once, changed in place, never losing the reader's place. */
import { renderBlocks } from "./blocks.js";
import { clock, dayName } from "./dates.js";
import { directory } from "./directory.js";
import { avatar, h, icon } from "./dom.js";
import { Surface } from "./surface.js";

const NEAR_END = 60;
const SAME_BREATH = 300;

export class MessageList {
  #shown = new Map();

  /** `act` posts an action about a message and resolves to the server's answer. */
  constructor({ log, scroller, latest, act }) {
    Object.assign(this, { log, scroller, latest, act });
    latest.append(icon("chevron"));
    latest.addEventListener("click", () => this.toEnd());
    scroller.addEventListener("scroll", () => this.#atEnd() && (latest.hidden = true));
    // Pictures, fonts and a growing composer move the end without a new message.
    this.pinned = true;
    scroller.addEventListener("scroll", () => { this.pinned = this.#atEnd(); });
    new ResizeObserver(() => this.pinned && this.toEnd()).observe(scroller);
  }

  /** Another channel or person: start from nothing. */
  clear() {
    this.#shown.clear();
    this.log.replaceChildren();
    this.pinned = true;
    this.latest.hidden = true;
  }

  show(messages) {
    const sorted = [...messages].sort((one, other) => one.time - other.time);
    const wasAtEnd = this.pinned;
    const fresh = sorted.some((message) => !this.#shown.has(message.key));
    for (const [key, entry] of this.#shown) {
      if (sorted.some((message) => message.key === key)) continue;
      entry.node.remove();
      this.#shown.delete(key);
    }
    const nodes = [];
    let previous = null;
    for (const message of sorted) {
      if (!sameDay(previous, message)) nodes.push(this.#divider(message));
      const { node } = this.#draw(message);
      node.classList.toggle("compact", continues(previous, message));
      nodes.push(node);
      previous = message;
    }
    arrange(this.log, nodes);
    if (wasAtEnd) this.toEnd();
    else if (fresh) this.latest.hidden = false;
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.pinned = true;
    this.latest.hidden = true;
  }

  #atEnd() {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight < NEAR_END;
  }

  #divider(message) {
    const name = dayName(new Date(message.time * 1000));
    return [...this.log.querySelectorAll(".day")].find((node) => node.textContent === name) ?? h("div", { class: "day" }, h("span", {}, name));
  }

  #draw(message) {
    const json = JSON.stringify(message);
    let entry = this.#shown.get(message.key);
    if (!entry) {
      entry = this.#create(message);
      this.#shown.set(message.key, entry);
    }
    if (entry.json === json) return entry;
    const redraw = entry.json !== undefined;
    entry.json = json;
    const { surface, content, edited, warning } = entry;
    surface.update(message.blocks);
    if (redraw) warning.hidden = true;
    renderBlocks(content, message.blocks ?? textBlocks(message.text), surface);
    edited.hidden = !message.edited;
    return entry;
  }

  #create(message) {
    const time = new Date(message.time * 1000);
    const warning = h("p", { class: "warning", role: "alert", hidden: true });
    const warn = (text) => {
      warning.replaceChildren(icon("warning"), text);
      warning.hidden = text === "";
    };
    const surface = new Surface({ post: (action) => this.act({ channel: message.channel, message_key: message.key, ...action }), warn });
    const content = h("div", { class: "blocks" });
    const edited = h("span", { class: "edited", hidden: true }, "(edited)");
    const color = directory.people.get(message.user)?.color;
    const isBot = message.user === directory.bot.user_id;
    const node = h("article", { class: message.ephemeral ? "message ephemeral" : "message", "aria-label": `${message.name}, ${clock(time)}` },
      message.ephemeral ? h("p", { class: "only-you" }, icon("eye"), "Only visible to you") : null,
      h("div", { class: "gutter" }, avatar({ name: message.name, color, isBot }), h("span", { class: "gutter-time", "aria-hidden": "true" }, clock(time).replace(/\s?[AP]M$/, ""))),
      h("div", { class: "message-body" },
        h("div", { class: "byline" }, h("span", { class: "author" }, message.name), isBot ? h("span", { class: "badge" }, "APP") : null,
          h("time", { datetime: time.toISOString(), title: time.toLocaleString() }, clock(time)),
          message.thread_ts && message.thread_ts !== message.ts ? h("span", { class: "threaded" }, "replied in a thread") : null),
        content, ...(message.files ?? []).map(file), edited, warning));
    return { node, surface, content, edited, warning };
  }
}

/** A snippet: its name, and its whole text when opened. */
function file({ title, text }) {
  return h("details", { class: "file" }, h("summary", {}, icon("copy"), h("span", {}, title), h("span", { class: "file-size" }, `${text.length.toLocaleString("en")} characters`)),
    h("pre", { class: "code-block", tabindex: "0" }, h("code", {}, text)));
}

/** A message without blocks is one section of its text. */
function textBlocks(text) {
  return text ? [{ type: "section", text: { type: "mrkdwn", text } }] : [];
}

const day = (message) => new Date(message.time * 1000).toDateString();

function sameDay(previous, message) {
  return previous !== null && day(previous) === day(message);
}

/** Slack draws no second byline when the same author goes on within five minutes. */
function continues(previous, message) {
  return previous !== null && sameDay(previous, message) && previous.user === message.user && !previous.ephemeral && !message.ephemeral
    && !message.is_bot && message.time - previous.time < SAME_BREATH;
}

/** Puts the nodes in this order without moving those that stand right: a moved node loses focus and scroll. */
function arrange(parent, nodes) {
  for (const child of [...parent.children]) if (!nodes.includes(child)) child.remove();
  nodes.forEach((node, index) => parent.children[index] !== node && parent.insertBefore(node, parent.children[index] ?? null));
}
