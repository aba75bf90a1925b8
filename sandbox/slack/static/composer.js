/** The message box: sends, completes slash commands, recalls what was typed before. */
import { freshId, h, icon } from "./dom.js";

/** Chips for an empty channel: each command with a flag from its usage hint, or waiting for its argument. */
export function exampleTexts(commands) {
  const examples = commands.map(({ command, usage_hint: usage = "" }) => {
    const words = usage.split(/[\s|]+/).filter(Boolean);
    const needsArgument = words.length > 0 && /^[A-Z<]/.test(words[0]);
    const flag = words.map((word) => word.replace(/[[\]]/g, "")).find((word) => /^[a-z]+(-[a-z]+)*$/.test(word));
    if (needsArgument) return [{ shown: `${command} ${words[0]}`, text: `${command} ` }];
    const plain = { shown: command, text: command };
    return flag ? [{ shown: `${command} ${flag}`, text: `${command} ${flag}` }, plain] : [plain];
  });
  return [...examples.map(([first]) => first), ...examples.flatMap((each) => each.slice(1))].slice(0, 3);
}

export class Composer {
  #active = 0;
  #matches = [];
  #dismissed = false;
  #typed = [];
  #recalled = 0;

  constructor({ form, box, list, usage, send, slash, commands, submit }) {
    Object.assign(this, { form, box, list, usage, send, commands, submit });
    send.append(icon("send"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    box.addEventListener("input", () => {
      this.#dismissed = false;
      this.#changed();
    });
    box.addEventListener("keydown", (event) => this.#key(event));
    box.addEventListener("blur", () => this.#hide());
    box.addEventListener("focus", () => this.#changed());
    list.addEventListener("mousedown", (event) => event.preventDefault());
    slash.addEventListener("click", () => this.fill("/"));
    this.#changed();
  }

  channel(name) {
    this.box.placeholder = `Message #${name}`;
  }

  fill(text) {
    this.box.value = text;
    this.#dismissed = false;
    this.box.focus();
    this.box.setSelectionRange(text.length, text.length);
    this.#changed();
  }

  async #submit() {
    const text = this.box.value.trim();
    if (text === "") return;
    if (this.#typed.at(-1) !== text) this.#typed.push(text);
    this.#recalled = this.#typed.length;
    this.box.value = "";
    this.#changed();
    const sent = await this.submit(text);
    // What could not be sent is not lost.
    if (!sent && this.box.value === "") this.fill(text);
  }

  #key(event) {
    if (event.isComposing) return;
    if (!this.list.hidden && this.#listKey(event)) event.preventDefault();
    else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "ArrowUp" && this.#recall(-1)) event.preventDefault();
    else if (event.key === "ArrowDown" && this.#recall(1)) event.preventDefault();
  }

  /** Keys of the open list; false for those that belong to the box. */
  #listKey({ key, shiftKey }) {
    const exact = this.#matches.some(({ command }) => command === this.box.value);
    if (key === "ArrowDown") this.#activate(this.#active + 1);
    else if (key === "ArrowUp") this.#activate(this.#active - 1);
    else if (key === "Tab" && !shiftKey) this.#complete(this.#matches[this.#active]);
    else if (key === "Enter" && !shiftKey && !exact) this.#complete(this.#matches[this.#active]);
    else if (key === "Escape") {
      this.#dismissed = true;
      this.#hide();
    } else return false;
    return true;
  }

  /** Up and Down go through what was sent, while the box is empty or shows one of these. */
  #recall(step) {
    const shown = this.#typed[this.#recalled];
    if (this.box.value !== "" && this.box.value !== shown) return false;
    const next = this.#recalled + step;
    if (next < 0 || next > this.#typed.length) return false;
    this.#recalled = next;
    this.box.value = this.#typed[next] ?? "";
    this.#dismissed = true;
    this.#changed();
    return true;
  }

  #complete({ command }) {
    this.fill(`${command} `);
  }

  #changed() {
    const text = this.box.value;
    this.send.disabled = text.trim() === "";
    // The box grows with its text; page.css sets the end of that.
    this.box.style.height = "auto";
    this.box.style.height = `${this.box.scrollHeight}px`;
    const word = /^\/\S*$/.test(text) ? text : null;
    this.#matches = word && !this.#dismissed ? this.commands.filter(({ command }) => command.startsWith(word)) : [];
    const known = this.commands.find(({ command }) => text.startsWith(`${command} `));
    this.usage.hidden = !known;
    this.usage.replaceChildren(...(known ? [h("strong", {}, known.command), ` ${known.usage_hint ?? ""}`] : []));
    if (this.#matches.length === 0) this.#hide();
    else this.#show();
  }

  #show() {
    this.list.replaceChildren(
      ...this.#matches.map((each) => h("div", {
        id: freshId("command"), role: "option", class: "suggestion", "aria-selected": "false", onclick: () => this.#complete(each),
      }, h("div", {}, h("strong", {}, each.command), " ", h("span", { class: "usage-hint" }, each.usage_hint ?? "")), h("div", { class: "option-description" }, each.description ?? ""))));
    this.list.hidden = false;
    this.usage.hidden = true;
    this.#activate(0);
  }

  #activate(index) {
    this.#active = (index + this.#matches.length) % this.#matches.length;
    [...this.list.children].forEach((node, each) => node.setAttribute("aria-selected", String(each === this.#active)));
    const node = this.list.children[this.#active];
    node.scrollIntoView({ block: "nearest" });
    this.box.setAttribute("aria-activedescendant", node.id);
  }

  #hide() {
    this.list.hidden = true;
    this.box.removeAttribute("aria-activedescendant");
  }
}
