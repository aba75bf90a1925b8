/** Who and what the ids in messages stand for: filled once from the world, read while rendering. */

export const directory = {
  people: new Map(),
  channels: new Map(),
  bot: { name: "" },
  /** The id of the person acting, so that their own mention stands out. */
  self: "",

  fill(world) {
    this.people = new Map(world.people.map((person) => [person.id, person]));
    this.channels = new Map(world.channels.map((channel) => [channel.id, channel]));
    this.bot = world.bot;
  },

  userName(id) {
    return id === this.bot.user_id ? this.bot.name : this.people.get(id)?.name;
  },

  channelName(id) {
    return this.channels.get(id)?.name;
  },
};
