/** The modals of the person acting: the top view of their stack in one native dialog. */
import { renderBlocks } from "./blocks.js";
import { avatar, freshId, h, icon } from "./dom.js";
import { closeMenu } from "./menu.js";
import { textNodes } from "./mrkdwn.js";
import { elementsOf, failureText, Surface } from "./surface.js";

export class Modals {
  #surfaces = new Map();
  #top = null;
  #dialog = null;

  /** `act`, `submit` and `close` each post about a view and resolve to the server's answer. */
  constructor({ act, submit, close }) {
    this.post = { act, submit, close };
  }

  /** The whole stack, the top view last. */
  show(views) {
    const top = views.at(-1) ?? null;
    for (const id of this.#surfaces.keys()) if (!views.some((view) => view.id === id)) this.#surfaces.delete(id);
    if (top?.id !== this.#top?.id) this.#replace(top);
    this.#top = top;
    if (top) this.#fill(top);
  }

  #surface(view) {
    if (!this.#surfaces.has(view.id)) {
      this.#surfaces.set(view.id, new Surface({
        post: (action) => this.post.act({ view_id: view.id, ...action }),
        warn: (text) => this.#warn(text),
      }));
    }
    return this.#surfaces.get(view.id);
  }

  #replace(view) {
    closeMenu();
    this.#dialog?.close();
    this.#dialog?.remove();
    this.#dialog = null;
    if (!view) return;
    const title = freshId("modal");
    this.parts = {
      title: h("h2", { id: title }),
      blocks: h("div", { class: "blocks" }),
      warning: h("p", { class: "warning", role: "alert", hidden: true }),
      buttons: h("div", { class: "dialog-buttons" }),
    };
    const dismiss = h("button", { type: "button", class: "icon-button", "aria-label": "Dismiss", onclick: () => this.#close() }, icon("close"));
    this.#dialog = h("dialog", { class: "modal", "aria-modal": "true", "aria-labelledby": title },
      h("form", { method: "dialog", novalidate: true, onsubmit: (event) => this.#submit(event) },
        h("header", {}, avatar({ name: "", isBot: true }), this.parts.title, dismiss),
        h("div", { class: "modal-body" }, this.parts.warning, this.parts.blocks), this.parts.buttons));
    this.#dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.#close();
    });
    document.body.append(this.#dialog);
  }

  #fill(view) {
    const surface = this.#surface(view);
    const { title, blocks, buttons } = this.parts;
    surface.update(view.blocks);
    title.replaceChildren(...textNodes(view.title));
    renderBlocks(blocks, view.blocks, surface);
    const close = view.close ?? (view.submit ? "Cancel" : "Close");
    const shown = JSON.stringify([close, view.submit]);
    if (buttons.dataset.shown !== shown) {
      buttons.dataset.shown = shown;
      buttons.replaceChildren(h("button", { type: "button", class: "button", onclick: () => this.#close() }, ...textNodes(close)));
      if (view.submit) buttons.append(h("button", { type: "submit", class: "button filled primary" }, h("span", { class: "button-text" }, ...textNodes(view.submit))));
    }
    if (this.#dialog.open) return;
    this.#dialog.showModal();
    (blocks.querySelector(".input .field, .input button, .input input") ?? this.#dialog.querySelector(".icon-button")).focus();
  }

  #warn(text) {
    if (!this.#dialog) return;
    this.parts.warning.textContent = text;
    this.parts.warning.hidden = text === "";
  }

  async #close() {
    const answer = await this.post.close({ view_id: this.#top.id });
    if (!answer.ok) this.#warn(failureText(answer));
  }

  async #submit(event) {
    event.preventDefault();
    const view = this.#top;
    const button = this.parts.buttons.querySelector("[type=submit]");
    if (!button || button.hasAttribute("aria-busy")) return;
    const surface = this.#surface(view);
    const missing = missingAnswers(view.blocks, surface);
    this.#showErrors(missing);
    if (Object.keys(missing).length > 0) return;
    this.#warn("");
    button.setAttribute("aria-busy", "true");
    const answer = await this.post.submit({ view_id: view.id, state: surface.state() });
    button.removeAttribute("aria-busy");
    if (answer.ok || this.#top?.id !== view.id) return;
    if (answer.errors) this.#showErrors(answer.errors);
    else this.#warn(failureText(answer));
  }

  /** Sentences by block_id, each under its input; one without an input stands at the top. */
  #showErrors(errors) {
    const inputs = [...this.#dialog.querySelectorAll(".input")];
    for (const node of inputs) {
      const text = errors[node.dataset.block] ?? "";
      const line = node.querySelector(".error");
      line.textContent = text;
      line.hidden = text === "";
      for (const field of node.querySelectorAll("[data-at]")) field.toggleAttribute("aria-invalid", text !== "");
    }
    const homeless = Object.entries(errors).filter(([id]) => !inputs.some((node) => node.dataset.block === id));
    this.#warn(homeless.map(([, text]) => text).join(" "));
    inputs.find((node) => errors[node.dataset.block])?.querySelector("[data-at]")?.focus();
  }
}

/** What Slack's client refuses before it asks the app. */
function missingAnswers(blocks, surface) {
  const errors = {};
  for (const [block, element] of elementsOf(blocks)) {
    if (block.type !== "input") continue;
    const value = surface.value(block, element);
    const empty = value === null || value.length === 0;
    if (empty && !block.optional) errors[block.block_id] = "Please complete this required field.";
    else if (!empty) {
      const wrong = wrongText(element, value);
      if (wrong) errors[block.block_id] = wrong;
    }
  }
  return errors;
}

function wrongText(element, value) {
  if (element.min_length && value.length < element.min_length) return `Please enter at least ${element.min_length} characters.`;
  if (element.type !== "number_input") return "";
  const pattern = element.is_decimal_allowed ? /^-?\d+(\.\d+)?$/ : /^-?\d+$/;
  if (!pattern.test(value)) return "Please enter a number.";
  if (element.min_value !== undefined && Number(value) < Number(element.min_value)) return `Please enter ${element.min_value} or more.`;
  if (element.max_value !== undefined && Number(value) > Number(element.max_value)) return `Please enter ${element.max_value} or less.`;
  return "";
}
