/** :shortcodes: to characters, for the common ones; an unknown code stays as it was typed. */
import { h } from "./dom.js";

const EMOJI = new Map(Object.entries({
  white_check_mark: "✅", heavy_check_mark: "✔️", ballot_box_with_check: "☑️", x: "❌", negative_squared_cross_mark: "❎",
  warning: "⚠️", no_entry: "⛔", no_entry_sign: "🚫", octagonal_sign: "🛑", stop_sign: "🛑", rotating_light: "🚨",
  red_circle: "🔴", large_orange_circle: "🟠", large_yellow_circle: "🟡", large_green_circle: "🟢", large_blue_circle: "🔵",
  large_purple_circle: "🟣", white_circle: "⚪", black_circle: "⚫", large_red_square: "🟥", large_green_square: "🟩",
  hourglass: "⌛", hourglass_flowing_sand: "⏳", stopwatch: "⏱️", alarm_clock: "⏰", clock1: "🕐", clock3: "🕒", zzz: "💤",
  lock: "🔒", unlock: "🔓", key: "🔑", closed_lock_with_key: "🔐", shield: "🛡️", eyes: "👀", eye: "👁️", mag: "🔍",
  information_source: "ℹ️", question: "❓", grey_question: "❔", exclamation: "❗", bulb: "💡", bell: "🔔", no_bell: "🔕",
  arrow_left: "⬅️", arrow_right: "➡️", arrow_up: "⬆️", arrow_down: "⬇️", arrow_forward: "▶️", arrow_backward: "◀️",
  arrows_counterclockwise: "🔄", leftwards_arrow_with_hook: "↩️", repeat: "🔁", double_vertical_bar: "⏸️", black_square_for_stop: "⏹️",
  skull: "💀", skull_and_crossbones: "☠️", knife: "🔪", wastebasket: "🗑️", scissors: "✂️", hammer: "🔨", wrench: "🔧",
  hammer_and_wrench: "🛠️", gear: "⚙️", electric_plug: "🔌", fire: "🔥", boom: "💥", zap: "⚡", bug: "🐛", sos: "🆘",
  robot_face: "🤖", computer: "💻", floppy_disk: "💾", file_cabinet: "🗄️", card_index_dividers: "🗂️", package: "📦",
  chart_with_upwards_trend: "📈", chart_with_downwards_trend: "📉", bar_chart: "📊", memo: "📝", clipboard: "📋", page_facing_up: "📄",
  scroll: "📜", pushpin: "📌", link: "🔗", calendar: "📆", email: "📧", speech_balloon: "💬", thread: "🧵", satellite: "🛰️",
  tada: "🎉", rocket: "🚀", star: "⭐", sparkles: "✨", heart: "❤️", ok: "🆗", "100": "💯", "+1": "👍", thumbsup: "👍", "-1": "👎",
  thumbsdown: "👎", wave: "👋", pray: "🙏", clap: "👏", raised_hands: "🙌", raised_hand: "✋", ok_hand: "👌", point_right: "👉",
  point_left: "👈", muscle: "💪", smile: "😄", slightly_smiling_face: "🙂", thinking_face: "🤔", sweat_smile: "😅", joy: "😂",
  cry: "😢", sob: "😭", scream: "😱", grimacing: "😬", sleeping: "😴", sunglasses: "😎", turtle: "🐢", snail: "🐌", whale: "🐳",
  ocean: "🌊", coffee: "☕", construction: "🚧", crossed_swords: "⚔️", busts_in_silhouette: "👥", bust_in_silhouette: "👤",
}));

/** The character of a shortcode (without its colons), or undefined. */
export function emojiOf(name) {
  return EMOJI.get(name.replace(/::skin-tone-\d$/, ""));
}

export function emojiNode(name) {
  const character = emojiOf(name);
  if (!character) return document.createTextNode(`:${name}:`);
  return h("span", { class: "emoji", role: "img", "aria-label": `${name.replaceAll("_", " ")} emoji` }, character);
}

/** Text with its known shortcodes replaced, as nodes. */
export function withEmoji(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(/:([a-z0-9_+-]+(?:::skin-tone-\d)?):/g)) {
    // A code may share its colon with a time such as 10:30:45; only known names count.
    if (!emojiOf(match[1]) || match.index < end) continue;
    nodes.push(text.slice(end, match.index), emojiNode(match[1]));
    end = match.index + match[0].length;
  }
  nodes.push(text.slice(end));
  return nodes.filter((node) => node !== "");
}

/** The same as plain text, for names of controls: of a text object, or of a bare string. */
export function emojiText(text) {
  if (text.emoji === false) return text.text;
  return (text.text ?? text).replace(/:([a-z0-9_+-]+):/g, (whole, name) => emojiOf(name) ?? whole);
}
