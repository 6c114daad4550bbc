// Slack's mrkdwn to nodes: docs "Formatting message text". Quotes, fences and bullets by line, the rest within a line.
// Each character is looked at a bounded number of times: marks do not nest in themselves, and a mark found to have no
// partner on its line is not looked for again there.

import { el, link } from "./dom.js";
import { emoji, pictures } from "./emoji.js";

const MARKS = { "*": "strong", _: "em", "~": "s" };
const WORD = /[\p{L}\p{N}]/u;
const ENTITIES = { amp: "&", lt: "<", gt: ">" };

/** `&amp;`, `&lt;` and `&gt;` undone, once; Slack knows no others. */
export function unescapeText(text) {
  return String(text).replace(/&(amp|lt|gt);/g, (_, name) => ENTITIES[name]);
}

/** The nodes of a mrkdwn text. `names` gives `user(id)` and `channel(id)` for mentions. */
export function mrkdwn(text, names) {
  const nodes = [];
  String(text ?? "").split(/```([\s\S]+?)```/).forEach((part, index) => {
    if (index % 2 === 1) nodes.push(el("pre", {}, literal(part.replace(/^\n/, "").replace(/\n$/, ""))));
    else nodes.push(...lines(part.replace(index > 0 ? /^\n/ : /^(?!)/, ""), names));
  });
  return nodes;
}

function lines(text, names) {
  if (text === "") return [];
  const runs = [];
  let rest = false;
  for (const line of text.split("\n")) {
    const all = /^(?:>>>|&gt;&gt;&gt;) ?/.exec(line);
    const one = all ?? /^(?:>|&gt;) ?/.exec(line);
    const bullet = /^\s*[•◦▪] +/.exec(line);
    const kind = rest || one ? "quote" : bullet ? "bullet" : "text";
    const content = rest ? line : line.slice((one ?? bullet)?.[0].length ?? 0);
    rest ||= all !== null;
    if (runs.at(-1)?.kind === kind && kind !== "bullet") runs.at(-1).lines.push(content);
    else runs.push({ kind, lines: [content] });
  }
  return runs.map((run) => {
    const content = inline(run.lines.join("\n"), names, "");
    if (run.kind === "quote") return el("blockquote", {}, content);
    if (run.kind === "bullet") return el("div.bullet", {}, content);
    return el(runs.length > 1 ? "div" : "span", {}, content);
  });
}

/** Fenced and inline code: no marks, but references still show as what they point at. */
function literal(text) {
  return unescapeText(text.replace(/<(https?:[^<>|\n]*)(?:\|([^<>\n]*))?>/g, (_, url, label) => label ?? url));
}

function inline(text, names, active) {
  const nodes = [];
  let plain = "";
  let at = 0;
  const unpaired = {};
  const push = (length, ...found) => {
    if (plain !== "") nodes.push(...pictures(plain));
    plain = "";
    nodes.push(...found);
    at += length;
  };
  const match = (pattern) => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };
  while (at < text.length) {
    const letter = text[at];
    let found = null;
    if (letter === "<" && (found = match(/<([^<>\n]+)>/y))) {
      push(found[0].length, reference(found[1], names) ?? unescapeText(found[0]));
      continue;
    }
    if (letter === "`" && (found = match(/`([^`\n]+)`/y))) {
      push(found[0].length, el("code", {}, literal(found[1])));
      continue;
    }
    if (letter === "&" && (found = match(/&(amp|lt|gt);/y))) {
      plain += ENTITIES[found[1]];
      at += found[0].length;
      continue;
    }
    if (letter === ":" && (found = match(/:([a-z0-9_+-]+):/y)) && emoji(found[1])) {
      plain += emoji(found[1]);
      at += found[0].length;
      continue;
    }
    if (letter === "h" && !WORD.test(text[at - 1] ?? "") && (found = match(/https?:\/\/[^\s<>|*`]+/y))) {
      const address = found[0].replace(/(?:[.,;:!?)'"\]_~]|&gt;)+$/, "");
      push(address.length, link(unescapeText(address), unescapeText(address)));
      continue;
    }
    if (MARKS[letter] && !active.includes(letter) && !WORD.test(text[at - 1] ?? "") && !(unpaired[letter] > at)) {
      const end = partner(text, at, letter);
      if (end.at > 0) {
        push(end.at + 1 - at, el(MARKS[letter], {}, inline(text.slice(at + 1, end.at), names, active + letter)));
        continue;
      }
      if (end.none) unpaired[letter] = end.line;
    }
    plain += letter;
    at += 1;
  }
  push(0);
  return nodes;
}

/** Where the mark that opens at `from` closes on its line, stepping over references and code. */
function partner(text, from, mark) {
  const newline = text.indexOf("\n", from);
  const line = newline < 0 ? text.length : newline;
  const atomic = /<[^<>\n]+>|`[^`\n]+`/y;
  if (/\s/.test(text[from + 1] ?? " ") || text[from + 1] === mark) return { at: 0, none: false, line };
  for (let at = from + 1; at < line; at += 1) {
    if (text[at] === "<" || text[at] === "`") {
      atomic.lastIndex = at;
      const found = atomic.exec(text);
      if (found) at += found[0].length - 1;
    } else if (text[at] === mark && at > from + 1 && !/\s/.test(text[at - 1]) && !WORD.test(text[at + 1] ?? "")) {
      return { at, none: false, line };
    }
  }
  return { at: 0, none: true, line };
}

/** What stands between `<` and `>`: a mention, a channel, a special mention, a date or a link. Null: leave as it is. */
function reference(inside, names) {
  const bar = inside.indexOf("|");
  const target = bar < 0 ? inside : inside.slice(0, bar);
  const label = bar < 0 ? undefined : unescapeText(inside.slice(bar + 1));
  let found = null;
  if ((found = /^@([UW][A-Z0-9]+)$/.exec(target))) return userMention(found[1], names, label);
  if ((found = /^#(C[A-Z0-9]+)$/.exec(target))) return channelMention(found[1], names, label);
  if ((found = /^!(here|channel|everyone)$/.exec(target))) return broadcast(found[1]);
  if ((found = /^!subteam\^(S[A-Z0-9]+)$/.exec(target))) return el("span.mention", {}, label ?? `@${found[1]}`);
  if ((found = /^!date\^(-?\d{1,12})\^([^^]*)(?:\^(.*))?$/.exec(target))) {
    const shown = date(Number(found[1]), unescapeText(found[2])) ?? label ?? found[2];
    return found[3] ? link(unescapeText(found[3]), shown) : el("span", { title: new Date(found[1] * 1000).toString() }, shown);
  }
  if (/^(?:https?:\/\/|mailto:|tel:|slack:)/i.test(target)) {
    const address = unescapeText(target);
    const text = label === undefined || label === "" ? address.replace(/^(?:mailto|tel):/i, "") : label;
    return link(address, ...inline(text.replace(/[&<>*_~`]/g, (mark) => ESCAPED[mark] ?? mark), names, "*_~"));
  }
  return null;
}

const ESCAPED = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };

/** A mention of a member, by the name the members list has for it. */
export function userMention(id, names, label) {
  return el("span.mention", { title: id }, `@${(names.user(id) ?? label ?? id).replace(/^@/, "")}`);
}

/** A mention of a channel. */
export function channelMention(id, names, label) {
  return el("span.mention", { title: id }, `#${(names.channel(id) ?? label ?? id).replace(/^#/, "")}`);
}

/** `@here`, `@channel` and `@everyone`, which reach more people than one. */
export function broadcast(range) {
  return el("span.mention.loud", {}, `@${range}`);
}

/** A `<!date^…>` format at a Unix time in seconds, in the browser's zone. Null where the time is impossible. */
export function date(seconds, format) {
  const when = new Date(seconds * 1000);
  if (Number.isNaN(when.getTime())) return null;
  const say = (options) => new Intl.DateTimeFormat("en-US", options).format(when);
  const midnight = (moment) => new Date(moment.getFullYear(), moment.getMonth(), moment.getDate()).getTime();
  const days = Math.round((midnight(when) - midnight(new Date())) / 86_400_000);
  const pretty = { 0: "today", 1: "tomorrow", "-1": "yesterday" }[days];
  const long = say({ weekday: "long", month: "long", day: "numeric", year: "numeric" });
  const plain = say({ month: "long", day: "numeric", year: "numeric" });
  const short = say({ month: "short", day: "numeric", year: "numeric" });
  const values = {
    date_num: [when.getFullYear(), when.getMonth() + 1, when.getDate()].map((n) => String(n).padStart(2, "0")).join("-"),
    date: plain, date_long: long, date_short: short,
    date_pretty: pretty ?? plain, date_long_pretty: pretty ?? long, date_short_pretty: pretty ?? short,
    time: say({ hour: "numeric", minute: "2-digit" }),
    time_secs: say({ hour: "numeric", minute: "2-digit", second: "2-digit" }),
    ago: ago(days, when),
  };
  const text = format.replace(/\{(\w+)\}/g, (whole, name) => (Object.hasOwn(values, name) ? values[name] : whole));
  return /^\{\w+_pretty\}/.test(format) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
}

function ago(days, when) {
  const relative = new Intl.RelativeTimeFormat("en-US", { numeric: "auto" });
  if (days !== 0) return relative.format(days, "day");
  const minutes = Math.round((when.getTime() - Date.now()) / 60_000);
  return Math.abs(minutes) < 60 ? relative.format(minutes, "minute") : relative.format(Math.round(minutes / 60), "hour");
}
