// The page of a preview: reads the message that belongs to this page's address, and draws it.

import { authorAvatar, blocks } from "./blocks.js";
import { el } from "./dom.js";
import { mrkdwn } from "./mrkdwn.js";

const LEVELS = { content_item: "The tenant’s template for this content item", tenant: "The tenant’s template", built_in: "Built in" };

const place = (id) => document.getElementById(id);

show();

async function show() {
  let answer;
  try {
    answer = await fetch(`${location.pathname}/message.json`, { cache: "no-store" });
  } catch {
    return failed("Herald did not answer. Load this page again in a moment.");
  }
  if (answer.status === 404) return failed("This preview is no longer available: a link works for an hour.");
  if (!answer.ok) return failed("Herald could not read this preview. Load this page again in a moment.");
  const { preview, expires_at: end } = await answer.json();
  draw(preview, new Date(end));
}

function failed(sentence) {
  place("message").setAttribute("aria-busy", "false");
  place("message").replaceChildren(el("p.gone", {}, sentence));
  place("more").hidden = true;
}

function draw(preview, end) {
  const names = { user: (id) => (Object.hasOwn(preview.names, id) ? preview.names[id] : undefined), channel: () => undefined };
  const press = () => { place("status").textContent = "In a preview, a button only opens its link."; };
  const drawn = preview.blocks.length > 0
    ? blocks(preview, names, press)
    : el("div.block.text", {}, mrkdwn(preview.text, names));
  place("message").replaceChildren(el("article.message", { lang: preview.locale },
    el("div.gutter", {}, authorAvatar({ name: "Herald", app: true }, "large")),
    el("div.content", {},
      el("div.byline", {}, el("span.name", {}, "Herald"), el("span.badge", {}, "APP"), el("span.time", {}, "Preview")),
      el("div.blocks", {}, drawn))));
  place("message").setAttribute("aria-busy", "false");
  document.title = `Preview of ${preview.event_type} · Herald`;
  place("note").textContent = `This is a preview of ${preview.event_type}. It was not sent to its recipients. This link works until ${time(end)}; anyone who has it can read the message.`;
  place("text").append(...mrkdwn(preview.text, names));
  place("shortened").append(...preview.shortened.map((part) => el("li", {}, el("code", {}, part))));
  place("cut").hidden = preview.shortened.length === 0;
  place("facts").append(...facts(preview));
  place("sizes").append(...preview.sizes.map(size));
  place("more").hidden = false;
}

function facts(preview) {
  const words = preview.level === null ? "A template that is not saved" : LEVELS[preview.level];
  const version = preview.version > 0 ? `${words}, version ${preview.version}` : words;
  const all = [["Words", version], ["Locale", preview.locale], ["Event type", preview.event_type], ["Content item", preview.content_id]];
  return all.filter(([, value]) => value !== null).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
}

function size([part, units, limit]) {
  return el("tr", {}, el("td", {}, el("code", {}, part)), el("td.number", {}, units.toLocaleString("en-US")),
    el("td.number", {}, limit.toLocaleString("en-US")),
    el("td", {}, el("meter", { min: 0, max: limit, value: units, high: limit * 0.9, "aria-label": `${units} of ${limit}` })));
}

function time(when) {
  return when.toLocaleTimeString("en-US", { hour: "numeric", minute: "2-digit", timeZoneName: "short" });
}
