/** The list that a select or overflow control opens: focus stays on the control, the list follows it. */
import { freshId, h, icon } from "./dom.js";
import { textNodes } from "./mrkdwn.js";

let open = null;

/** Closes the list that is open, if any, as a click outside would. */
export function closeMenu() {
  open?.close();
}

/** Closes the list if it belongs to something inside this node (which is about to go). */
export function closeMenuIn(node) {
  if (open && node.contains(open.anchor)) open.close();
}

/**
 * Makes `anchor` (a button) open a list.
 * `groups()` gives [{label, options}], `isChosen(option)` marks them, `pick(option)` takes one,
 * `closed()` is told when the list goes; `multiple` keeps it open while picking.
 */
export function attachMenu(anchor, settings) {
  anchor.addEventListener("click", () => (open?.anchor === anchor ? closeMenu() : new Menu(anchor, settings)));
  anchor.addEventListener("keydown", (event) => {
    if (open?.anchor === anchor) open.key(event);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      new Menu(anchor, settings);
    }
  });
}

class Menu {
  #typed = "";
  #typedAt = 0;

  constructor(anchor, settings) {
    closeMenu();
    anchor.focus(); // Safari gives no focus to a button that is clicked
    this.anchor = anchor;
    this.settings = settings;
    this.role = settings.role ?? "listbox";
    this.items = [];
    this.list = h("div", {
      id: freshId("menu"), class: "menu", role: this.role, "aria-label": settings.label,
      "aria-multiselectable": settings.multiple ? "true" : null,
      // Pressing on the list must not take focus from the control.
      onmousedown: (event) => event.preventDefault(),
    });
    for (const group of settings.groups()) this.list.append(...this.#group(group));
    (anchor.closest("dialog") ?? document.body).append(this.list);
    this.mark();
    this.activate(Math.max(0, this.items.findIndex(({ option }) => settings.isChosen?.(option))));
    anchor.setAttribute("aria-expanded", "true");
    anchor.setAttribute("aria-controls", this.list.id);
    this.ending = new AbortController();
    const { signal } = this.ending;
    document.addEventListener("pointerdown", (event) => this.#outside(event), { capture: true, signal });
    addEventListener("scroll", (event) => event.target !== this.list && this.place(), { capture: true, signal });
    addEventListener("resize", () => this.place(), { signal });
    anchor.addEventListener("blur", () => this.close(), { signal });
    open = this;
    this.place();
  }

  #group({ label, options }) {
    const nodes = options.map((option) => this.#item(option));
    if (!label) return nodes;
    const title = h("div", { class: "menu-group", id: freshId("group") }, ...textNodes(label));
    return [h("div", { role: "group", "aria-labelledby": title.id }, title, ...nodes)];
  }

  #item(option) {
    const index = this.items.length;
    const description = option.description ? h("span", { class: "option-description" }, ...textNodes(option.description)) : null;
    const node = h("div", {
      id: freshId("option"), class: "menu-item", role: this.role === "menu" ? "menuitem" : "option",
      onclick: () => this.pick(index), onmousemove: () => this.activate(index, false),
    }, this.settings.isChosen ? icon("tick") : null, h("span", { class: "option-text" }, ...textNodes(option.text), description));
    this.items.push({ option, node });
    return node;
  }

  mark() {
    if (!this.settings.isChosen) return;
    for (const { option, node } of this.items) node.setAttribute("aria-selected", String(this.settings.isChosen(option)));
  }

  activate(index, scroll = true) {
    if (this.items.length === 0) return;
    this.items[this.active]?.node.classList.remove("active");
    this.active = (index + this.items.length) % this.items.length;
    const { node } = this.items[this.active];
    node.classList.add("active");
    if (scroll) node.scrollIntoView({ block: "nearest" });
    this.anchor.setAttribute("aria-activedescendant", node.id);
  }

  pick(index) {
    const { option } = this.items[index];
    if (!this.settings.multiple) this.close();
    this.settings.pick(option);
    this.mark();
    // Chips may have moved the control.
    if (open === this) this.place();
  }

  key(event) {
    const steps = {
      ArrowDown: () => this.activate(this.active + 1), ArrowUp: () => this.activate(this.active - 1),
      Home: () => this.activate(0), End: () => this.activate(this.items.length - 1),
      Enter: () => this.pick(this.active), " ": () => this.pick(this.active), Escape: () => this.close(),
    };
    if (event.key === "Tab") this.close();
    else if (steps[event.key]) {
      event.preventDefault();
      event.stopPropagation();
      steps[event.key]();
    } else if (event.key.length === 1 && !event.ctrlKey && !event.metaKey) this.#seek(event);
  }

  /** Typing goes to the next option that begins so. */
  #seek(event) {
    this.#typed = event.timeStamp - this.#typedAt > 800 ? event.key : this.#typed + event.key;
    this.#typedAt = event.timeStamp;
    const wanted = this.#typed.toLowerCase();
    const found = this.items.findIndex(({ node }) => node.textContent.toLowerCase().startsWith(wanted));
    if (found >= 0) this.activate(found);
  }

  #outside(event) {
    if (!this.list.contains(event.target) && !this.anchor.contains(event.target)) this.close();
  }

  place() {
    const box = this.anchor.getBoundingClientRect();
    const { style } = this.list;
    style.minWidth = `${Math.max(box.width, 180)}px`;
    const { offsetWidth: width, offsetHeight: height } = this.list;
    const below = innerHeight - box.bottom;
    style.left = `${Math.max(8, Math.min(box.left, innerWidth - width - 8))}px`;
    style.top = `${below < height + 12 && box.top > below ? Math.max(8, box.top - height - 4) : box.bottom + 4}px`;
  }

  close() {
    if (open !== this) return;
    open = null;
    this.ending.abort();
    this.list.remove();
    this.anchor.setAttribute("aria-expanded", "false");
    this.anchor.removeAttribute("aria-controls");
    this.anchor.removeAttribute("aria-activedescendant");
    this.settings.closed?.();
  }
}
