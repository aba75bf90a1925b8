/** The app's Home tab: what it published for the person acting. */
import { renderBlocks } from "./blocks.js";
import { h } from "./dom.js";
import { Surface } from "./surface.js";

export class Home {
  #surface = null;
  #id = null;

  /** `act` posts a press on the tab and resolves to the server's answer. */
  constructor({ pane, act }) {
    this.warning = h("p", { class: "warning", role: "alert", hidden: true });
    this.blocks = h("div", { class: "blocks" });
    this.pane = pane;
    this.act = act;
    pane.replaceChildren(this.warning, this.blocks);
  }

  show(view) {
    if (!view) {
      this.#id = null;
      this.blocks.replaceChildren(h("p", { class: "home-empty" }, "This app has not published its Home tab yet."));
      return;
    }
    if (view.id !== this.#id) this.#begin(view);
    this.#surface.update(view.blocks);
    renderBlocks(this.blocks, view.blocks, this.#surface);
  }

  #begin(view) {
    this.#id = view.id;
    this.blocks.replaceChildren();
    this.#surface = new Surface({
      post: (action) => this.act({ view_id: view.id, ...action }),
      warn: (text) => {
        this.warning.textContent = text;
        this.warning.hidden = text === "";
      },
    });
  }
}
