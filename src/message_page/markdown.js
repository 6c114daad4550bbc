// The markdown block: standard Markdown, as far as notifications use it. Not mrkdwn: `**bold**`, `[label](url)`.

import { el, link } from "./dom.js";
import { withEmoji } from "./emoji.js";

/** The nodes of a Markdown text: headings, lists, quotes, fences, rules and paragraphs. */
export function markdown(text) {
  const nodes = [];
  const lines = String(text ?? "").split("\n");
  const take = (pattern) => {
    const taken = [];
    while (lines.length > 0 && pattern.test(lines[0])) taken.push(lines.shift().replace(pattern, ""));
    return taken;
  };
  while (lines.length > 0) {
    const line = lines[0];
    const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (line.trim() === "") lines.shift();
    else if (/^\s*```/.test(line)) {
      lines.shift();
      const end = lines.findIndex((candidate) => /^\s*```\s*$/.test(candidate));
      nodes.push(el("pre", {}, lines.splice(0, end < 0 ? lines.length : end).join("\n")));
      lines.shift();
    } else if (heading) {
      lines.shift();
      nodes.push(el(`div.heading.h${heading[1].length}`, { role: "heading", "aria-level": Math.min(heading[1].length + 3, 6) }, inline(heading[2], 0)));
    } else if (/^\s*(?:-{3,}|\*{3,}|_{3,})\s*$/.test(line)) {
      lines.shift();
      nodes.push(el("hr"));
    } else if (/^>/.test(line)) {
      nodes.push(el("blockquote", {}, inline(take(/^> ?/).join("\n"), 0)));
    } else if (/^\s*[-*+]\s+/.test(line)) {
      nodes.push(el("ul", {}, take(/^\s*[-*+]\s+/).map((item) => el("li", {}, inline(item, 0)))));
    } else if (/^\s*\d{1,9}[.)]\s+/.test(line)) {
      nodes.push(el("ol", { start: parseInt(line, 10) }, take(/^\s*\d{1,9}[.)]\s+/).map((item) => el("li", {}, inline(item, 0)))));
    } else {
      const paragraph = [lines.shift()];
      while (lines.length > 0 && lines[0].trim() !== "" && !/^(?:\s*```|#{1,6}\s|>|\s*[-*+]\s|\s*\d{1,9}[.)]\s)/.test(lines[0])) paragraph.push(lines.shift());
      nodes.push(el("p", {}, inline(paragraph.join("\n"), 0)));
    }
  }
  return nodes;
}

const SPANS = [
  [/`([^`\n]+)`/, (found) => el("code", {}, found[1])],
  [/!?\[([^\][\n]*)\]\(([^()\s]+)\)/, (found) => link(found[2], withEmoji(found[1]))],
  [/\*\*([^*\n](?:[^\n]{0,2000}?[^*\n])?)\*\*/, (found, depth) => el("strong", {}, inline(found[1], depth + 1))],
  [/~~([^~\n]+)~~/, (found, depth) => el("s", {}, inline(found[1], depth + 1))],
  [/\*([^\s*][^*\n]*)\*/, (found, depth) => el("em", {}, inline(found[1], depth + 1))],
  [/(?<![\p{L}\p{N}])_([^\s_][^_\n]*)_(?![\p{L}\p{N}])/u, (found, depth) => el("em", {}, inline(found[1], depth + 1))],
  [/https?:\/\/[^\s<>()]+/, (found) => link(found[0], found[0])],
];

/** The first kind of span that occurs splits the text; the parts are treated alike. Depth is bounded. */
function inline(text, depth) {
  if (depth > 12 || text === "") return [withEmoji(text)];
  const nodes = [];
  let rest = text;
  while (rest !== "") {
    const first = SPANS.map(([pattern, build]) => ({ found: pattern.exec(rest), build }))
      .filter(({ found }) => found !== null)
      .sort((a, b) => a.found.index - b.found.index)[0];
    if (first === undefined) break;
    nodes.push(withEmoji(rest.slice(0, first.found.index)), first.build(first.found, depth));
    rest = rest.slice(first.found.index + first.found[0].length);
  }
  return [...nodes, withEmoji(rest)];
}
