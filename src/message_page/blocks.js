// Block Kit to nodes, one function for each kind of block. A kind not known here is shown as such, never dropped.

import { avatar, el, image, safeLink } from "./dom.js";
import { emojiText, pictures, withEmoji } from "./emoji.js";
import { markdown } from "./markdown.js";
import { mrkdwn } from "./mrkdwn.js";
import { richText } from "./rich_text.js";

const list = (value) => (Array.isArray(value) ? value.filter((item) => item !== null && typeof item === "object") : []);

/** The nodes of a message's blocks. `names` resolves mentions; `press(element, block)` is told of pressed buttons. */
export function blocks(message, names, press) {
  return list(message.blocks).map((block) => {
    const build = Object.hasOwn(KINDS, block.type) ? KINDS[block.type] : unsupported;
    return build(block, names, (element) => press(element, block));
  });
}

const KINDS = {
  header: (block) => el("h3.block.header", {}, withEmoji(block.text?.text)),
  divider: () => el("hr.block"),
  section,
  context,
  actions: (block, _, press) => el("div.block.actions", {}, list(block.elements).map((element) => interactive(element, press))),
  image: (block) => el("figure.block.picture", {},
    block.title && el("figcaption", {}, withEmoji(block.title.text)), image(block, "large")),
  rich_text: (block, names) => el("div.block.rich", {}, richText(block, names)),
  markdown: (block) => el("div.block.markdown", {}, markdown(block.text)),
};

/** A text object: mrkdwn with its markup, plain_text as it is. */
function text(object, names) {
  if (object === null || typeof object !== "object") return [];
  return object.type === "mrkdwn" ? mrkdwn(object.text, names) : [withEmoji(object.text)];
}

function section(block, names, press) {
  const fields = list(block.fields);
  const accessory = block.accessory && (block.accessory.type === "image"
    ? image(block.accessory, "thumb")
    : interactive(block.accessory, press));
  return el("div.block.section", {},
    el("div.body", {},
      block.text && el("div.text", {}, text(block.text, names)),
      fields.length > 0 && el("div.fields", {}, fields.map((field) => el("div.field", {}, text(field, names))))),
    accessory && el("div.accessory", {}, accessory));
}

function context(block, names) {
  return el("div.block.context", {}, list(block.elements).map((element) =>
    element.type === "image" ? image(element, "tiny") : el("span.note", {}, text(element, names))));
}

/** A control. Buttons work; menus and pickers are shown as Slack draws them closed. */
function interactive(element, press) {
  const options = list(element.options);
  switch (element.type) {
    case "button": return button(element, press);
    case "overflow": return el("button.button.overflow", { type: "button", disabled: true, "aria-label": "More" }, "⋯");
    case "static_select": case "external_select": case "users_select": case "conversations_select": case "channels_select":
    case "multi_static_select": case "multi_external_select": case "multi_users_select":
    case "multi_conversations_select": case "multi_channels_select":
      return el("span.button.select", {}, withEmoji(element.initial_option?.text?.text ?? element.placeholder?.text ?? "Choose an option"), el("i", { "aria-hidden": "true" }, "⌄"));
    case "datepicker": case "timepicker": case "datetimepicker":
      return el("span.button.select", {}, String(element.initial_date ?? element.initial_time ?? element.placeholder?.text ?? "Select"), el("i", { "aria-hidden": "true" }, "⌄"));
    case "checkboxes": case "radio_buttons":
      return el("span.choices", {}, options.map((option) => el("label", {},
        el("input", { type: element.type === "checkboxes" ? "checkbox" : "radio", disabled: true }), withEmoji(option.text?.text))));
    default: return el("span.unsupported", {}, `unsupported element: ${element.type}`);
  }
}

/** A button tells the app of the press; one with an address is a link that also opens it, as in Slack. */
function button(element, press) {
  const style = ["primary", "danger"].includes(element.style) ? `.${element.style}` : "";
  const label = emojiText(element.text?.text);
  const href = element.url === undefined ? null : safeLink(element.url);
  const click = (event) => {
    const ask = element.confirm;
    if (ask && !window.confirm([ask.title?.text, ask.text?.text].filter(Boolean).join("\n\n"))) event.preventDefault();
    else press(element);
  };
  const shared = { "aria-label": element.accessibility_label, title: href ?? (label.length > 30 ? label : undefined), onclick: click };
  return href === null
    ? el(`button.button${style}`, { type: "button", ...shared }, el("span", {}, pictures(label)))
    : el(`a.button${style}`, { href, target: "_blank", rel: "noopener noreferrer", ...shared }, el("span", {}, pictures(label)));
}

function unsupported(block) {
  return el("div.block.unsupported", {}, `unsupported block: ${block.type}`);
}

/** The avatar of whoever wrote a message: a member's initials or the app's own square. */
export function authorAvatar(author, size) {
  const node = avatar(author.initials || author.name, author.colour, size);
  if (author.app) node.classList.add("app");
  return node;
}
