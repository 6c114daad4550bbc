// Emoji: the short names that notifications use (others stay as written, as Slack leaves unknown names), and pictures for
// the common ones, because Slack draws emoji as pictures and a machine may have no font for them.

import { el } from "./dom.js";

const EMOJI = new Map(Object.entries({
  "+1": "👍", thumbsup: "👍", "-1": "👎", thumbsdown: "👎", wave: "👋", clap: "👏", pray: "🙏", raised_hands: "🙌",
  muscle: "💪", eyes: "👀", point_right: "👉", smile: "😄", slightly_smiling_face: "🙂", grin: "😁", joy: "😂",
  thinking_face: "🤔", cry: "😢", heart: "❤️", tada: "🎉", sparkles: "✨", star: "⭐", fire: "🔥", rocket: "🚀",
  zap: "⚡", bulb: "💡", bell: "🔔", no_bell: "🔕", mega: "📣", loudspeaker: "📢", speech_balloon: "💬",
  memo: "📝", pencil: "📝", pencil2: "✏️", clipboard: "📋", page_facing_up: "📄", file_folder: "📁", books: "📚",
  paperclip: "📎", link: "🔗", mag: "🔍", lock: "🔒", unlock: "🔓", key: "🔑", gear: "⚙️", wrench: "🔧", hammer_and_wrench: "🛠️",
  email: "📧", envelope: "✉️", inbox_tray: "📥", outbox_tray: "📤", package: "📦", calendar: "📆", date: "📅", spiral_calendar_pad: "🗓️",
  clock1: "🕐", clock3: "🕒", clock9: "🕘", alarm_clock: "⏰", stopwatch: "⏱️", hourglass: "⌛", hourglass_flowing_sand: "⏳",
  white_check_mark: "✅", heavy_check_mark: "✔️", ballot_box_with_check: "☑️", x: "❌", no_entry: "⛔", no_entry_sign: "🚫",
  warning: "⚠️", rotating_light: "🚨", exclamation: "❗", question: "❓", information_source: "ℹ️", construction: "🚧",
  red_circle: "🔴", large_yellow_circle: "🟡", large_green_circle: "🟢", large_blue_circle: "🔵", white_circle: "⚪",
  arrow_right: "➡️", arrow_up: "⬆️", arrow_down: "⬇️", repeat: "🔁", arrows_counterclockwise: "🔄", recycle: "♻️",
  chart_with_upwards_trend: "📈", bar_chart: "📊", moneybag: "💰", credit_card: "💳", briefcase: "💼", office: "🏢",
  bust_in_silhouette: "👤", busts_in_silhouette: "👥", robot_face: "🤖", globe_with_meridians: "🌐", house: "🏠", coffee: "☕",
  handshake: "🤝", mortar_board: "🎓", admission_tickets: "🎟️",
  trophy: "🏆", dart: "🎯", bug: "🐛", label: "🏷️", pushpin: "📌", round_pushpin: "📍", triangular_flag_on_post: "🚩",
}));

/** What `emoji.svg` holds, each as a view named by its code point. */
const DRAWN = new Set([
  "🚀", "📋", "🚫", "✅", "📥", "🤝", "📅", "🎟️", "🎓", "🔔", "🕒", "📍", "👋", "🎉", "👀", "👍", "💡", "📝", "📆", "⏰", "⏳", "❌", "⚠️", "🚨", "❗", "❓", "ℹ️", "⛔", "💬", "📄", "📁", "🔗", "🔍", "🔒",
  "🔑", "⚙️", "📧", "✉️", "📤", "✔️", "☑️", "⭐", "✨", "🔥", "⚡", "🔴", "🟡", "🟢", "🔵", "⚪", "➡️", "🔁", "👤", "👥", "📈", "📊", "💰", "💳", "📌", "🏷️", "🚩", "❤️", "📣", "🙂", "😄", "🔕", "✏️", "🎯",
]);

// Not within a longer sequence (joined by U+200D, or with a skin tone): that is another picture.
const PICTURE = new RegExp(`(?<!\\u200d)(${[...DRAWN].map(pattern).join("|")})(?![\\u200d\\u{1f3fb}-\\u{1f3ff}])`, "u");
/** The file of pictures, beside this one wherever it is served. */
const PICTURES = new URL("./emoji.svg", import.meta.url).href;
const NAMES = new Map([...EMOJI].map(([name, character]) => [character, `:${name}:`]));

/** The variation selector is left out at will where the character is an emoji anyway; `✔` alone is text. */
function pattern(character) {
  return character.codePointAt(0) > 0xffff ? `${character.replace("\ufe0f", "")}\ufe0f?` : character;
}

/** The character of a short name (`tada`), or undefined. */
export function emoji(name) {
  return EMOJI.get(name);
}

/** The text with its `:short_names:` replaced by characters. */
export function emojiText(text) {
  return String(text ?? "").replace(/:([a-z0-9_+-]+):/g, (whole, name) => EMOJI.get(name) ?? whole);
}

/** The nodes of a text with its `:short_names:` and emoji drawn, for places that take no other markup. */
export function withEmoji(text) {
  return pictures(emojiText(text));
}

/** The nodes of a text with its emoji drawn. */
export function pictures(text) {
  return String(text ?? "").split(PICTURE).map((part, index) => (index % 2 === 0 ? part : picture(part)));
}

function picture(character) {
  const code = [...character].filter((part) => part !== "\ufe0f").map((part) => part.codePointAt(0).toString(16)).join("-");
  return el("img.emoji", { src: `${PICTURES}#u${code}`, alt: character, title: NAMES.get(character) });
}
