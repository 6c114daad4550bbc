// The page: what the sandbox holds, read from its control API; which conversation is open; and the live stream.
// Every event leads to reading the conversation anew, so a missed event cannot leave the page wrong for long.

import { avatar, arrange, el } from "./dom.js";
import { authorAvatar } from "./blocks.js";
import { about, marks, note as noteOf, sign } from "./channel.js";
import { draw } from "./messages.js";

const API = "/_sandbox";
/** The view of all conversations together; no conversation id looks like this. */
const ALL = "all";
/** Conversations whose messages are read for the view of all; others are read when opened. */
const READ_AHEAD = 100;
/** Messages kept for one conversation. */
const KEPT = 1000;

const $ = (id) => document.getElementById(id);
const held = { team: {}, app: {}, members: new Map(), conversations: [], details: new Map(), messages: new Map(), revision: 0 };
let open = null;
let atEnd = true;

const names = {
  user: (id) => (held.members.has(id) ? nameOf(held.members.get(id)) : id === held.app.bot_user_id ? held.app.name : undefined),
  channel: (id) => held.conversations.find((conversation) => conversation.id === id && conversation.kind !== "im")?.title,
};

function nameOf(person) {
  return person.display_name || person.real_name || person.id;
}

function titleOf(conversation) {
  if (conversation.kind !== "im") return String(conversation.title ?? conversation.id).replace(/^#/, "");
  return conversation.real_name || conversation.display_name || conversation.title || conversation.user_id || conversation.id;
}

function authorOf(message) {
  const member = held.members.get(message.user);
  const isApp = message.user === held.app.bot_user_id || Boolean(message.bot_name) || member === undefined || member.kind === "bot";
  const direct = held.conversations.find(({ user_id }) => user_id !== null && user_id === message.user);
  if (!isApp) return { name: nameOf(member), initials: member.real_name, app: false, colour: direct?.image_color };
  return { name: message.bot_name || (member && nameOf(member)) || held.app.name || "App", app: true, colour: "4a154b" };
}

// Reading

async function read(path) {
  const answer = await fetch(API + path, { headers: { accept: "application/json" }, cache: "no-store" });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

async function readState() {
  const state = await read("/state");
  held.team = state.team ?? {};
  held.app = state.app ?? {};
  held.members = new Map((state.members ?? []).map((member) => [member.id, member]));
  held.revision += 1;
}

async function readConversations() {
  held.conversations = await read("/conversations");
  held.conversations.sort((a, b) => Number(b.last_ts || 0) - Number(a.last_ts || 0));
}

async function readMessages(id) {
  const messages = await read(`/conversations/${encodeURIComponent(id)}/messages`);
  held.messages.set(id, messages.slice(-KEPT).map((message) => ({ conversation: id, ...message })));
}

/** The topic, purpose and members of a channel; null where it cannot be read. */
async function readDetail(id) {
  held.details.set(id, await read(`/conversations/${encodeURIComponent(id)}`).catch(() => null));
}

/** Everything anew: at the start, and whenever the stream was interrupted. */
async function readAll() {
  held.details.clear();
  await Promise.all([readState(), readConversations()]);
  const wanted = held.conversations.slice(0, READ_AHEAD).map(({ id }) => id);
  if (open !== null && open !== ALL && held.conversations.some(({ id }) => id === open)) wanted.push(open);
  for (let at = 0; at < wanted.length; at += 8) await Promise.all(wanted.slice(at, at + 8).map(readMessages));
}

const changed = new Set();
let reading = false;

/** Reads what changed, one round at a time; events that come meanwhile make one more round. */
async function follow(conversation) {
  changed.add(conversation);
  if (reading) return;
  reading = true;
  try {
    while (changed.size > 0) {
      const round = [...changed];
      changed.clear();
      await readConversations();
      const known = new Set(held.conversations.map(({ id }) => id));
      const found = round.filter((id) => known.has(id));
      if (found.some((id) => authorsUnknown(id))) await readState();
      for (let at = 0; at < found.length; at += 8) await Promise.all(found.slice(at, at + 8).map(readMessages));
      await Promise.all(found.filter((id) => held.details.has(id)).map(readDetail));
      show();
    }
  } catch (error) {
    status("Lost the sandbox", error.message);
  } finally {
    reading = false;
  }
}

function authorsUnknown(id) {
  const person = held.conversations.find((conversation) => conversation.id === id)?.user_id;
  return Boolean(person) && !held.members.has(person);
}

function listen() {
  const stream = new EventSource(`${API}/events`);
  const event = (told) => {
    try {
      follow(JSON.parse(told.data).conversation);
    } catch {
      follow(open);
    }
  };
  for (const kind of ["message", "changed", "deleted", "channel"]) stream.addEventListener(kind, event);
  stream.onopen = () => start().then(() => status("Live"), (error) => status("Lost the sandbox", error.message));
  stream.onerror = () => {
    status("Reconnecting…");
    // The browser reconnects by itself unless the answer was not a stream at all.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
}

function status(text, detail) {
  $("live").textContent = text;
  $("live").title = detail ?? "";
  $("live").dataset.state = text === "Live" ? "live" : "lost";
}

// Unread counts: kept in the browser, by team, until the conversation is opened.

const mark = (id) => `sandbox read ${held.team.id ?? ""} ${id}`;

function unread(conversation) {
  const messages = held.messages.get(conversation.id);
  let seen = 0;
  try {
    seen = Number(localStorage.getItem(mark(conversation.id)) ?? 0);
  } catch { /* storage is switched off: everything counts as unread */ }
  if (messages === undefined) return Number(conversation.last_ts || 0) > seen ? conversation.count : 0;
  return messages.filter((message) => Number(message.ts) > seen && !message.deleted).length;
}

function markRead(id) {
  const last = held.messages.get(id)?.at(-1);
  try {
    if (last) localStorage.setItem(mark(id), last.ts);
  } catch { /* as above */ }
}

// Showing

function choose() {
  const asked = decodeURIComponent(location.hash.slice(1));
  const known = held.conversations.some(({ id }) => id === asked);
  if (asked === ALL || known) return asked;
  return held.conversations.length === 1 ? held.conversations[0].id : ALL;
}

function show() {
  const before = open;
  open = choose();
  if (before !== open) atEnd = true;
  const conversation = held.conversations.find(({ id }) => id === open);
  if (conversation && !document.hidden) markRead(open);
  sidebar();
  heading(conversation);
  intro(conversation);
  if (conversation && conversation.kind !== "im" && !held.details.has(open)) readDetail(open).then(show);
  const all = [...held.messages.values()].flat().sort((a, b) => Number(a.ts) - Number(b.ts));
  const count = $("log").childElementCount;
  draw($("log"), conversation ? (held.messages.get(open) ?? []) : all, {
    id: open, names, revision: held.revision, author: authorOf, press, redraw: show,
    recipient: conversation ? undefined : recipient,
  });
  if (atEnd) $("scroll").scrollTop = $("scroll").scrollHeight;
  else if ($("log").childElementCount > count) $("jump").hidden = false;
}

function recipient(message) {
  const conversation = held.conversations.find(({ id }) => id === message.conversation);
  const title = conversation ? titleOf(conversation) : message.conversation;
  const mine = conversation?.kind === "im";
  return el("a.to", { href: `#${message.conversation}`, title: `Open this conversation (${message.conversation})` },
    el("span.arrow", { "aria-hidden": "true" }, "→"), el("span.sr", {}, "to "),
    mine ? avatar(title, conversation.image_color, "tiny") : null, mine ? title : `${conversation?.is_private ? "🔒︎" : "#"} ${title}`);
}

function sidebar() {
  $("workspace").textContent = held.team.name ?? "Workspace";
  $("where").textContent = `${held.team.name ?? "Slack"} · sandbox`;
  const shown = held.conversations.find(({ id }) => id === open);
  $("composer").textContent = shown?.is_archived ? "This channel is archived" : `This is a sandbox: messages arrive from ${held.app.name || "Herald"}`;
  const channels = held.conversations.filter(({ kind }) => kind !== "im");
  const direct = held.conversations.filter(({ kind }) => kind === "im");
  const byTitle = (a, b) => titleOf(a).localeCompare(titleOf(b));
  const section = (label, conversations) => conversations.length > 0
    ? [el("h2.label", {}, label), el("ul", {}, conversations.map((conversation) => el("li", {}, entry(conversation))))] : [];
  const focused = document.activeElement?.closest?.("#rows a")?.getAttribute("href");
  arrange($("rows"), [
    el("ul", {}, el("li", {}, row(ALL, el("span.hash", { "aria-hidden": "true" }, "☰"), "All messages", 0))),
    ...section("Channels", channels.sort(byTitle)), ...section("Direct messages", direct.sort(byTitle)),
  ]);
  if (focused) [...$("rows").querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
}

function entry(conversation) {
  const title = titleOf(conversation);
  const icon = conversation.kind === "im" ? avatar(title, conversation.image_color, "small")
    : conversation.kind === "group" && !conversation.is_private ? el("span.hash", { "aria-hidden": "true" }, "☷") : sign(conversation);
  const name = conversation.is_archived ? `${title} (archived)` : title;
  return row(conversation.id, icon, name, conversation.id === open ? 0 : unread(conversation));
}

function row(id, icon, title, count) {
  return el(`a.row${count > 0 ? ".unread" : ""}`, { href: `#${id}`, "aria-current": id === open ? "page" : undefined, title },
    icon, el("span.name", {}, title), count > 0 && el("span.number", { "aria-label": `${count} unread` }, String(count)));
}

function heading(conversation) {
  const total = [...held.messages.values()].reduce((sum, messages) => sum + messages.length, 0);
  const title = conversation ? titleOf(conversation) : "All messages";
  const im = conversation?.kind === "im";
  document.title = `${title} · ${held.team.name ?? "Slack"} sandbox`;
  $("log").setAttribute("aria-label", `Messages: ${title}`);
  const note = im ? [conversation.id, conversation.user_id].filter(Boolean).join(" · ") : conversation ? noteOf(conversation)
    : `${total} ${total === 1 ? "message" : "messages"} in ${held.conversations.length} ${held.conversations.length === 1 ? "conversation" : "conversations"}`;
  const heading = $("title");
  if (heading.textContent !== title) heading.textContent = title;
  const icon = im ? avatar(title, conversation.image_color, "small") : conversation ? sign(conversation) : null;
  const signs = conversation && !im ? marks(conversation) : [];
  arrange($("head"), [icon, heading, ...signs, el("span.facts", {}, note)].filter(Boolean));
}

function intro(conversation) {
  const app = held.app.name || "the app";
  if (held.conversations.length === 0) {
    $("intro").replaceChildren(el("div.empty", {}, authorAvatar({ name: app, app: true, colour: "4a154b" }, "huge"), el("h3", {}, "No messages yet"),
      el("p", {}, `Messages appear here as soon as ${app} sends them through the sandbox.`),
      el("ol", {}, el("li", {}, "Connect the workspace: open the link that BeginConnect answers."), el("li", {}, "Turn sending on with AllowSending."),
        el("li", {}, "Load people with UpsertPeople, then call TestSlack or Notify.")),
      el("p", {}, "Or let ", el("code", {}, "herald demo"), " do all of it.")));
    return;
  }
  if (!conversation) {
    $("intro").replaceChildren();
    return;
  }
  const title = titleOf(conversation);
  const im = conversation.kind === "im";
  $("intro").replaceChildren(el("div.start", {},
    el("div.who", {}, im ? avatar(title, conversation.image_color, "huge") : sign(conversation, "huge"), el("h3", {}, title)),
    el("p", {}, im ? "This conversation is just between " : "This is the very beginning of ",
      im ? [el("strong", {}, app), " and ", el("span.mention", {}, `@${conversation.display_name || title}`), "."] : [el("strong", {}, `#${title}`), "."]),
    !im && about(held.details.get(open))));
}

// Pressing a button

async function press(message, element, block) {
  const body = { conversation: message.conversation, ts: message.ts, action_id: element.action_id, block_id: block.block_id };
  try {
    const answer = await fetch(`${API}/press`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), keepalive: true });
    const app = held.app.name || "The app";
    toast(answer.ok ? `${app} acknowledged the press` : `⚠ ${app} did not acknowledge the press: Slack shows a warning beside the button`);
  } catch (error) {
    toast(`The press was not sent: ${error.message}`);
  }
}

let fading;
function toast(text) {
  $("toast").textContent = text;
  clearTimeout(fading);
  fading = setTimeout(() => { $("toast").textContent = ""; }, 4000);
}

// Starting

async function start() {
  await readAll();
  show();
}

function menu(shown) {
  $("menu").setAttribute("aria-expanded", String(shown));
  document.body.classList.toggle("menu-open", shown);
}

window.addEventListener("hashchange", async () => {
  menu(false);
  const asked = choose();
  if (asked !== ALL && !held.messages.has(asked)) await readMessages(asked).catch((error) => status("Lost the sandbox", error.message));
  show();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && open !== null) show(); });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") menu(false); });
$("menu").addEventListener("click", () => menu($("menu").getAttribute("aria-expanded") !== "true"));
$("skip").addEventListener("click", (event) => { event.preventDefault(); $("scroll").focus(); });
$("scroll").addEventListener("scroll", () => {
  const { scrollTop, scrollHeight, clientHeight } = $("scroll");
  atEnd = scrollHeight - scrollTop - clientHeight < 40;
  if (atEnd) $("jump").hidden = true;
});
$("jump").addEventListener("click", () => { $("scroll").scrollTop = $("scroll").scrollHeight; });

// `/?still` reads once and opens no stream, so that a headless browser under virtual time comes to its end.
const still = new URLSearchParams(location.search).has("still");
start().then(() => still && status("Still"), (error) => status("Lost the sandbox", error.message)).finally(() => still || listen());
