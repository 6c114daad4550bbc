// Tasks with their states, and plans, which are lists of tasks.

import { el, link, list, svg } from "./dom.js";
import { withEmoji } from "./emoji.js";
import { richText } from "./rich_text.js";

/** A title above tasks, which can be folded. */
export function plan(block, names) {
  const tasks = list(block.tasks);
  const title = el("span.headline", {}, withEmoji(block.title));
  if (tasks.length === 0) return el("div.block.plan", {}, el("div.lead", {}, title));
  return el("details.block.plan", { open: true }, el("summary.lead", {}, title),
    el("ol.tasks", {}, tasks.map((one) => el("li", {}, task(one, names)))));
}

/** A task by itself. */
export function taskCard(block, names) {
  return el("div.block.task-card", {}, task(block, names));
}

function task(block, names) {
  const sources = list(block.sources);
  const rich = (part) => part && el("div.rich", {}, richText(part, names));
  const head = [sign(block.status), el("span.headline", {}, withEmoji(block.title))];
  if (!block.details && !block.output && sources.length === 0) return el("div.task", {}, el("div.lead", {}, head));
  return el("details.task", { open: true }, el("summary.lead", {}, head),
    el("div.result", {}, rich(block.details), rich(block.output),
      sources.length > 0 && el("div.sources", {}, sources.map((source) => link(source.url, withEmoji(source.text ?? source.url))))));
}

const STATES = {
  pending: ["Pending", () => svg("circle", { cx: 10, cy: 10, r: 7.2 })],
  in_progress: ["In progress", () => [svg("circle.track", { cx: 10, cy: 10, r: 7.2 }), svg("path", { d: "M10 2.8a7.2 7.2 0 0 1 7.2 7.2" })]],
  complete: ["Complete", () => [svg("circle.full", { cx: 10, cy: 10, r: 8 }), svg("path.mark", { d: "m6.4 10.3 2.5 2.5 4.8-5.2" })]],
  error: ["Error", () => [svg("circle.full", { cx: 10, cy: 10, r: 8 }), svg("path.mark", { d: "M10 5.8v5m0 3.2v.1" })]],
};

/** The picture of a state; a task without one is pending. */
function sign(status) {
  const name = Object.hasOwn(STATES, status) ? status : "pending";
  const [label, draw] = STATES[name];
  return svg(`svg.state.${name}`, { viewBox: "0 0 20 20", role: "img", "aria-label": label }, svg("title", {}, label), draw());
}
