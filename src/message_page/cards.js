// Cards, carousels of cards, and containers of other blocks.

import { el, image, list } from "./dom.js";
import { interactive, text } from "./elements.js";
import { richText } from "./rich_text.js";

/** A card. Buttons of the style danger stand on the left, others on the right, primary ones last. */
export function card(block, names, press) {
  const buttons = list(block.actions);
  const styled = (...styles) => buttons.filter((button) => styles.includes(button.style)).map((button) => interactive(button, press));
  const right = [...buttons.filter((button) => !["danger", "primary"].includes(button.style)).map((button) => interactive(button, press)), ...styled("primary")];
  const headed = block.icon || block.title || block.subtitle;
  return el("div.block.card", {},
    block.hero_image && image(block.hero_image, "hero"),
    (headed || block.body || block.subtext) && el("div.inside", {},
      headed && el("div.lead", {}, heading(block, names)),
      block.body && el("div.text", {}, text(block.body, names)),
      block.subtext && el("div.subtext", {}, text(block.subtext, names))),
    buttons.length > 0 && el("div.buttons", {}, el("div.left", {}, styled("danger")), el("div.right", {}, right)));
}

function heading(block, names) {
  return [block.icon && image(block.icon, "icon"), el("div.words", {},
    block.title && el("div.headline", {}, text(block.title, names)),
    block.subtitle && el("div.subtitle", {}, text(block.subtitle, names)))];
}

/** Cards in a row that scrolls. The arrows are for the mouse: keys scroll the row itself. */
export function carousel(block, names, press) {
  const cards = list(block.elements);
  const row = el("ul.cards", { tabindex: 0, "aria-label": `Carousel of ${cards.length}` },
    cards.map((one) => el("li", {}, card(one, names, (element) => press(element, one)))));
  const arrow = (side, sign, direction) => el(`button.slide.${side}`,
    { type: "button", tabindex: -1, "aria-hidden": "true", onclick: () => row.scrollBy(direction * row.clientWidth * 0.8, 0) }, sign);
  const back = arrow("back", "‹", -1);
  const next = arrow("next", "›", 1);
  const update = () => {
    back.hidden = row.scrollLeft < 2;
    next.hidden = row.scrollLeft + row.clientWidth > row.scrollWidth - 2;
  };
  row.addEventListener("scroll", update, { passive: true });
  new ResizeObserver(update).observe(row);
  return el("div.block.carousel", {}, row, back, next);
}

const WIDTHS = ["narrow", "standard", "wide", "full"];

/** A container around the nodes of its blocks, which can be folded where the block says so. */
export function container(block, names, children) {
  const width = WIDTHS.includes(block.width) ? block.width : "standard";
  const title = block.rich_text_title
    ? el("div.headline.rich", {}, richText(block.rich_text_title, names))
    : block.title && el("div.headline", {}, text(block.title, names));
  const head = (block.icon || title || block.subtitle) && [block.icon && image(block.icon, "icon"), el("div.words", {},
    title, block.subtitle && el("div.subtitle", {}, text(block.subtitle, names)))];
  const inside = el("div.children", {}, children);
  if (block.is_collapsible === true) {
    return el(`details.block.container.${width}`, { open: block.default_collapsed !== true },
      el("summary.lead", {}, head || "Details"), inside);
  }
  const divided = block.has_header_divider === true ? ".divided" : "";
  return el(`div.block.container.${width}${divided}`, {}, head && el("div.lead", {}, head), inside);
}
