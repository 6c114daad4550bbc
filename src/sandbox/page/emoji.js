// The short names that notifications use; others stay as written, as Slack leaves unknown names.

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
  trophy: "🏆", dart: "🎯", bug: "🐛", label: "🏷️", pushpin: "📌", round_pushpin: "📍", triangular_flag_on_post: "🚩",
}));

/** The character of a short name (`tada`), or undefined. */
export function emoji(name) {
  return EMOJI.get(name);
}

/** The text with its `:short_names:` replaced, for places that take no other markup. */
export function withEmoji(text) {
  return String(text ?? "").replace(/:([a-z0-9_+-]+):/g, (whole, name) => EMOJI.get(name) ?? whole);
}
