/** A Slack channel to try the bot in: puts the parts of the page together and feeds them. */
import { Feed, get, post } from "./api.js";
import { Composer, exampleTexts } from "./composer.js";
import { refreshRelativeTimes } from "./dates.js";
import { directory } from "./directory.js";
import { avatar, h, icon } from "./dom.js";
import { Home } from "./home.js";
import { MessageList } from "./messages.js";
import { Modals } from "./modal.js";
import { Sidebar } from "./sidebar.js";
import { failureText } from "./surface.js";

const HOME = "home"; // stands for the app's Home tab where else a channel's id stands
const at = (id) => document.getElementById(id);

class Page {
  channels = [];
  messages = new Map();
  unread = new Set();

  constructor(world) {
    this.world = world;
    directory.fill(world);
    const asked = new URLSearchParams(location.search);
    this.channel = asked.get("channel");
    const known = world.people.some(({ id }) => id === asked.get("as"));
    this.person = known ? asked.get("as") : world.people[0].id;
    this.sidebar = new Sidebar({
      workspace: at("workspace"), sidebar: at("sidebar"), menuButton: at("menu-button"), channels: at("channels"), apps: at("apps"),
      openChannel: (id) => this.open(id),
      openApp: () => this.openHome(),
    });
    this.sidebar.team(world.team, at("team-tile"), at("team-name"));
    this.sidebar.people(at("people"), world.people, this.person, (id) => this.actAs(id));
    this.list = new MessageList({
      log: at("messages"), scroller: at("scroller"), latest: at("latest"),
      act: (action) => this.post("act", action),
    });
    this.modals = new Modals({
      act: (action) => this.post("act", { channel: this.channel, ...action }),
      submit: (view) => this.post("submit", view),
      close: (view) => this.post("close", view),
    });
    this.home = new Home({ pane: at("home"), act: (action) => this.post("act", action) });
    this.composer = new Composer({
      form: at("composer"), box: at("message"), list: at("suggestions"), usage: at("usage"), send: at("send"), slash: at("slash"),
      commands: world.commands, submit: (text) => this.say(text),
    });
    this.actAs(this.person);
  }

  post(path, body) {
    return post(path, { as: this.person, ...body });
  }

  /** The whole page becomes this person's: channels, messages, ephemeral ones, modals. */
  actAs(id) {
    this.feed?.end();
    this.person = id;
    directory.self = id;
    const { name, title, color } = directory.people.get(id);
    at("acting").replaceChildren(avatar({ name, color }), h("span", { class: "offscreen" }, `Acting as ${name}, ${title}`));
    this.list.clear();
    this.modals.show([]);
    this.unread.clear();
    this.feed = new Feed(id, {
      started: (state) => this.start(state),
      event: (event) => this.take(event),
      lost: () => { at("connection").hidden = false; },
    });
  }

  start({ channels, messages, views, home }) {
    at("connection").hidden = true;
    this.channels = channels;
    this.messages = new Map(channels.map(({ id }) => [id, new Map((messages[id] ?? []).map((message) => [message.key, message]))]));
    this.modals.show(views);
    this.home.show(home);
    if (this.channel === HOME) {
      this.openHome();
      return;
    }
    const here = channels.some(({ id }) => id === this.channel) ? this.channel : channels[0]?.id;
    if (here) this.open(here);
  }

  take(event) {
    if (event.type === "views") this.modals.show(event.views);
    else if (event.type === "home") this.home.show(event.view);
    else if (event.type === "notice") notice(event.message);
    else if (event.type === "message") this.put(event.message);
    else if (event.type === "message_deleted") {
      this.messages.get(event.channel)?.delete(event.key);
      this.draw(event.channel);
    }
  }

  put(message) {
    // The first message of a conversation that the bot has just opened brings it along.
    if (message.conversation && !this.messages.has(message.channel)) {
      this.channels.push(message.conversation);
      this.messages.set(message.channel, new Map());
    }
    const known = this.messages.get(message.channel);
    if (!known) return;
    const isNew = !known.has(message.key);
    if (message.deleted) known.delete(message.key);
    else known.set(message.key, message);
    if (isNew && message.channel !== this.channel) {
      this.unread.add(message.channel);
      this.showChannels();
    }
    this.draw(message.channel);
  }

  /** The app hears of each look at its Home tab. */
  openHome() {
    this.channel = HOME;
    this.#showHome(true);
    const { name } = this.world.bot;
    at("channel-name").replaceChildren(name);
    at("members").replaceChildren();
    this.showChannels();
    document.title = `${name} · ${this.world.team.name}`;
    history.replaceState(null, "", `?${new URLSearchParams({ as: this.person, channel: HOME })}`);
    this.post("home", {});
  }

  #showHome(shown) {
    at("home").hidden = !shown;
    for (const id of ["scroller", "composer"]) at(id).hidden = shown;
    if (shown) at("latest").hidden = true;
  }

  open(id) {
    this.#showHome(false);
    if (id !== this.channel) this.list.clear();
    this.channel = id;
    this.unread.delete(id);
    const channel = this.channels.find((each) => each.id === id);
    const mark = channel.is_private ? icon("lock") : h("span", { class: "hash", "aria-hidden": "true" }, "#");
    at("channel-name").replaceChildren(...(channel.is_direct ? [] : [mark]), channel.name);
    this.composer.channel(channel.name);
    this.showMembers(channel);
    this.showChannels();
    this.showWelcome(channel);
    this.draw(id);
    document.title = `#${channel.name} · ${this.world.team.name}`;
    history.replaceState(null, "", `?${new URLSearchParams({ as: this.person, channel: id })}`);
  }

  showChannels() {
    this.sidebar.show(this.channels, this.channel, this.unread);
    this.sidebar.showApp(this.world.bot, this.channel === HOME);
  }

  showMembers({ members }) {
    const people = members.map((id) => directory.people.get(id)).filter(Boolean);
    const withBot = members.includes(this.world.bot.user_id);
    const faces = people.map((person) => avatar(person));
    if (withBot) faces.push(avatar({ name: this.world.bot.name, isBot: true }));
    const names = [...people.map(({ name }) => name), ...(withBot ? [this.world.bot.name] : [])].join(", ");
    at("members").replaceChildren(h("span", { class: "faces", role: "img", "aria-label": `Members: ${names}`, title: names }, ...faces, h("span", {}, String(faces.length))));
  }

  showWelcome(channel) {
    const chips = exampleTexts(this.world.commands).map(({ shown, text }) =>
      h("button", { type: "button", class: "example", onclick: () => this.composer.fill(text) }, shown));
    at("welcome").replaceChildren(
      h("p", { class: "welcome-title" }, `This is the beginning of #${channel.name}`),
      h("p", {}, "Type / to see the commands, or try one:"), h("div", { class: "examples" }, ...chips));
  }

  draw(channel) {
    if (channel !== this.channel) return;
    const messages = [...this.messages.get(channel).values()];
    at("welcome").hidden = messages.length > 0;
    this.list.show(messages);
  }

  async say(text) {
    this.list.toEnd();
    const answer = await this.post("post", { channel: this.channel, text });
    if (!answer.ok) notice(failureText(answer));
    return answer.ok;
  }
}

/** A sentence in the corner that goes by itself. */
function notice(text) {
  const node = h("p", { class: "notice" }, text);
  at("notices").append(node);
  setTimeout(() => node.remove(), 8000);
}

setInterval(refreshRelativeTimes, 10_000);
new Page(await get("world"));
