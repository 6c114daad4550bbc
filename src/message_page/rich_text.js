// The rich_text block: what Slack's own composer writes. Sections, lists, quotes and preformatted text.

import { el, link, list } from "./dom.js";
import { emoji, pictures } from "./emoji.js";
import { broadcast, channelMention, date, userMention } from "./mrkdwn.js";

/** The nodes of a rich_text block. */
export function richText(block, names) {
  return list(block.elements).map((element) => container(element, names));
}

function container(element, names) {
  const children = list(element.elements);
  switch (element.type) {
    case "rich_text_section":
      return el("div", {}, children.map((child) => leaf(child, names)));
    case "rich_text_quote":
      return el("blockquote", {}, children.map((child) => leaf(child, names)));
    case "rich_text_preformatted":
      return el("pre", {}, children.map((child) => String(child.text ?? child.url ?? "")));
    case "rich_text_list": {
      const ordered = element.style === "ordered";
      const items = children.map((child) => el("li", {}, list(child.elements).map((part) => leaf(part, names))));
      const node = el(ordered ? "ol" : "ul", { start: ordered && element.offset ? Number(element.offset) + 1 : undefined }, items);
      node.style.marginLeft = `${Math.min(Math.max(Number(element.indent) || 0, 0), 8) * 28}px`;
      return node;
    }
    default:
      return el("div.unsupported", {}, `unsupported element: ${element.type}`);
  }
}

function leaf(part, names) {
  return styled(bare(part, names), part.style ?? {});
}

function bare(part, names) {
  switch (part.type) {
    case "text": return el("span", {}, pictures(part.text));
    case "link": return link(part.url, String(part.text || part.url));
    case "emoji": return el("span", {}, pictures(emoji(part.name) ?? `:${part.name}:`));
    case "user": return userMention(String(part.user_id), names);
    case "channel": return channelMention(String(part.channel_id), names);
    case "usergroup": return el("span.mention", {}, `@${part.usergroup_id}`);
    case "broadcast": return broadcast(String(part.range));
    case "date": return date(Number(part.timestamp), String(part.format ?? "{date}")) ?? String(part.fallback ?? "");
    case "color": return String(part.value ?? "");
    default: return el("span.unsupported", {}, `unsupported element: ${part.type}`);
  }
}

function styled(node, style) {
  const tags = [["code", "code"], ["strike", "s"], ["italic", "em"], ["bold", "strong"]];
  return tags.reduce((inner, [key, tag]) => (style[key] ? el(tag, {}, inner) : inner), node);
}
