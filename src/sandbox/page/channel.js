// A channel: the sign before its name, the marks after it, and its topic, purpose and members.

import { avatar, el } from "./dom.js";

/** Members drawn at once; the others are counted. */
const SHOWN = 60;

/** `#`, or a lock where the channel is private. */
export function sign(conversation, size) {
  return el(size ? `span.hash.${size}` : "span.hash", { "aria-hidden": "true" }, conversation.is_private ? "🔒︎" : "#");
}

/** The marks after the name in the heading. */
export function marks(conversation) {
  const named = [[conversation.is_private, "private"], [conversation.is_archived, "archived"]];
  return named.filter(([is]) => is).map(([, label]) => el("span.badge", {}, label));
}

/** The facts on the right of the heading. */
export function note(conversation) {
  return [conversation.id, count(conversation.member_count), conversation.topic].filter(Boolean).join(" · ");
}

/** Topic, purpose and members, at the beginning of the conversation. `detail` is missing until it has been read. */
export function about(detail) {
  if (!detail) return null;
  const facts = [["Topic", detail.topic], ["Purpose", detail.purpose]].filter(([, text]) => text);
  const shown = detail.members.slice(0, SHOWN);
  const more = detail.member_count - shown.length;
  return el("section.about", { "aria-label": "About this channel" },
    facts.length > 0 && el("dl", {}, facts.map(([label, text]) => [el("dt", {}, label), el("dd", {}, text)])),
    el("h4", {}, count(detail.member_count)),
    shown.length > 0 && el("ul.people", {}, shown.map(person)),
    more > 0 && el("p.rest", {}, `and ${more} more`));
}

function person(member) {
  return el("li.person", { title: member.id }, avatar(member.name, member.color, "small"), el("span.name", {}, member.name),
    member.label && el("span.badge", {}, member.label));
}

function count(members) {
  return `${members ?? 0} ${members === 1 ? "member" : "members"}`;
}
