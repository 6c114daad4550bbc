// A conversation as rows: day dividers, messages, their threads. Rows are kept while nothing about them changed.

import { authorAvatar, blocks } from "./blocks.js";
import { arrange, el } from "./dom.js";
import { mrkdwn } from "./mrkdwn.js";

/** Messages shown at once; older ones are counted, not drawn. */
const SHOWN = 300;
/** Replies shown under a message before the older ones fold away. */
const REPLIES = 3;
/** Seconds within which messages of one author stand under one name. */
const TOGETHER = 300;

const unfolded = new Set();
let kept = new Map();

/** Draws `messages` (oldest first) into `log`. `view` gives author(message), names, press, and recipient(message) where wanted. */
export function draw(log, messages, view) {
  const { roots, replies } = threads(messages);
  const shown = roots.slice(-SHOWN);
  const rows = [];
  if (shown.length < roots.length) rows.push(["older", "", () => el("p.older", {}, `${roots.length - shown.length} older messages are not shown`)]);
  let day = "";
  let previous;
  for (const message of shown) {
    const today = dayOf(message.ts);
    if (today !== day) rows.push([`day ${today}`, today, () => el("div.day", { role: "separator", "aria-label": today }, el("span", {}, today))]);
    const under = replies.get(key(message)) ?? [];
    const joined = today === day && follows(previous, message, view);
    day = today;
    previous = under.length > 0 ? undefined : message;
    const open = unfolded.has(key(message));
    rows.push([key(message), JSON.stringify([message, under, joined, open, view.revision]), () => thread(message, under, joined, view)]);
  }
  const nodes = rows.map(([id, signature, build]) => {
    const name = `${view.id} ${id}`;
    const old = kept.get(name);
    return [name, old?.signature === signature ? old : { signature, node: build() }];
  });
  const first = log.dataset.view !== view.id;
  for (const [name, row] of nodes) {
    if (!first && !kept.has(name)) row.node.classList.add("new");
  }
  log.dataset.view = view.id;
  kept = new Map(nodes);
  arrange(log, nodes.map(([, row]) => row.node));
}

const key = (message) => `${message.conversation} ${message.ts}`;

/** Replies by their parent; a reply whose parent is not there stands on its own. */
function threads(messages) {
  const present = new Set(messages.map(key));
  const roots = [];
  const replies = new Map();
  for (const message of messages) {
    const parent = `${message.conversation} ${message.thread_ts}`;
    if (!message.thread_ts || message.thread_ts === message.ts || !present.has(parent)) roots.push(message);
    else replies.set(parent, [...(replies.get(parent) ?? []), message]);
  }
  return { roots, replies };
}

function follows(previous, message, view) {
  return previous !== undefined && view.recipient === undefined && !previous.deleted && !message.deleted
    && view.author(previous).name === view.author(message).name && Number(message.ts) - Number(previous.ts) < TOGETHER;
}

function thread(message, replies, joined, view) {
  const row = el("div.thread", {}, article(message, joined, view));
  if (replies.length === 0) return row;
  const id = key(message);
  const hidden = unfolded.has(id) ? 0 : Math.max(replies.length - REPLIES, 0);
  const count = `${replies.length} ${replies.length === 1 ? "reply" : "replies"}`;
  const toggle = () => {
    if (!unfolded.delete(id)) unfolded.add(id);
    view.redraw();
  };
  const authors = [...new Map(replies.map((reply) => [view.author(reply).name, view.author(reply)])).values()].slice(0, 4);
  const summary = [authors.map((author) => authorAvatar(author, "small")), el("span.count", {}, count),
    el("span.last", {}, `Last reply ${whenOf(replies.at(-1).ts)}`)];
  row.append(el("div.replies", {},
    replies.length > REPLIES
      ? el("button.summary", { type: "button", "aria-expanded": String(hidden === 0), onclick: toggle }, summary,
        el("span.fold", {}, hidden > 0 ? `Show ${hidden} more` : "Show fewer"))
      : el("div.summary", {}, summary),
    replies.slice(hidden).map((reply) => article(reply, false, view, "reply"))));
  return row;
}

function article(message, joined, view, kind = "root") {
  if (message.deleted) {
    return el(`article.message.${kind}.deleted`, {}, el("div.gutter", {}, el("span.trash", { "aria-hidden": "true" }, "×")),
      el("div.content", {}, el("p.gone", {}, "This message was deleted.")));
  }
  const author = view.author(message);
  const time = el("time.time", { datetime: dateOf(message.ts).toISOString(), title: `${dateOf(message.ts).toLocaleString("en-US")}\nts ${message.ts}` }, clock(message.ts));
  const head = joined ? null : el("div.byline", {}, el("span.name", {}, author.name),
    author.app && el("span.badge", {}, "APP"), time, view.recipient && kind === "root" && view.recipient(message));
  const lost = kind === "root" && message.thread_ts && message.thread_ts !== message.ts;
  const body = Array.isArray(message.blocks) && message.blocks.length > 0
    ? el("div.blocks", {}, blocks(message, view.names, (element, block) => view.press(message, element, block)))
    : el("div.blocks", {}, el("div.block.text", {}, mrkdwn(message.text, view.names)));
  return el(`article.message.${kind}${joined ? ".joined" : ""}`, { "aria-label": `${author.name}, ${clock(message.ts)}` },
    el("div.gutter", {}, joined ? time : authorAvatar(author, kind === "reply" ? "medium" : "large")),
    el("div.content", {}, head, lost && el("p.lost", {}, "replied to a thread"), body, message.edited && el("span.edited", {}, "(edited)")));
}

function dateOf(ts) {
  const when = new Date(Number(ts) * 1000);
  return Number.isNaN(when.getTime()) ? new Date(0) : when;
}

function clock(ts) {
  return dateOf(ts).toLocaleTimeString("en-US", { hour: "numeric", minute: "2-digit" });
}

function dayOf(ts) {
  const when = dateOf(ts);
  const yesterday = new Date();
  yesterday.setDate(yesterday.getDate() - 1);
  if (when.toDateString() === new Date().toDateString()) return "Today";
  if (when.toDateString() === yesterday.toDateString()) return "Yesterday";
  const year = when.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return when.toLocaleDateString("en-US", { weekday: "long", month: "long", day: "numeric", year });
}

function whenOf(ts) {
  const day = dayOf(ts);
  return `${/^(Today|Yesterday)$/.test(day) ? day.toLowerCase() : `on ${day}`} at ${clock(ts)}`;
}
