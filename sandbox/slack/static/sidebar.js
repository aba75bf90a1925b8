/** The aubergine side: the team, its channels, and the people one can act as. */
import { avatar, h, icon } from "./dom.js";

export class Sidebar {
  constructor({ workspace, sidebar, menuButton, channels, apps, openChannel, openApp }) {
    Object.assign(this, { workspace, sidebar, menuButton, channels, apps, openChannel, openApp });
    menuButton.replaceChildren(icon("menu"), h("span", { class: "offscreen" }, "Menu"));
    menuButton.addEventListener("click", () => this.toggle(!workspace.classList.contains("menu-open")));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && workspace.classList.contains("menu-open")) {
        this.toggle(false);
        menuButton.focus();
      }
    });
    document.addEventListener("pointerdown", (event) => {
      if (!sidebar.contains(event.target) && !menuButton.contains(event.target)) this.toggle(false);
    });
  }

  /** Only narrow windows hide the sidebar behind the menu button. */
  toggle(shown) {
    this.workspace.classList.toggle("menu-open", shown);
    this.menuButton.setAttribute("aria-expanded", String(shown));
  }

  team({ name }, tile, title) {
    tile.textContent = name[0];
    title.textContent = name;
  }

  people(fieldset, people, chosen, act) {
    for (const person of people) {
      const radio = h("input", { type: "radio", name: "as", value: person.id, checked: person.id === chosen, "aria-label": person.name, "aria-description": person.title, onchange: () => act(person.id) });
      fieldset.append(h("label", { class: "person" }, radio, avatar(person), h("span", { class: "person-text" }, h("span", { class: "person-name" }, person.name), h("span", { class: "person-title" }, person.title))));
    }
  }

  showApp({ name }, isOpen) {
    const open = () => {
      this.openApp();
      this.toggle(false);
    };
    this.apps.replaceChildren(h("li", {}, h("button", { type: "button", class: "channel-link", "aria-current": isOpen ? "page" : null, onclick: open }, icon("bot"), h("span", {}, name))));
  }

  show(channels, current, unread) {
    this.channels.replaceChildren(...channels.map((channel) => {
      const classes = unread.has(channel.id) ? "channel-link unread" : "channel-link";
      const mark = channel.is_direct ? icon("bot") : channel.is_private ? icon("lock") : h("span", { class: "hash", "aria-hidden": "true" }, "#");
      return h("li", {}, h("button", {
        type: "button", class: classes, "aria-current": channel.id === current ? "page" : null,
        onclick: () => {
          this.openChannel(channel.id);
          this.toggle(false);
        },
      }, mark, h("span", {}, channel.name), unread.has(channel.id) ? h("span", { class: "offscreen" }, " (new messages)") : null));
    }));
  }
}
