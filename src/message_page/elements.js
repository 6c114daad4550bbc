// The parts that blocks share: text objects and controls.

import { el, list, safeLink } from "./dom.js";
import { emojiText, pictures, withEmoji } from "./emoji.js";
import { mrkdwn } from "./mrkdwn.js";

/** A text object: mrkdwn with its markup, plain_text as it is. */
export function text(object, names) {
  if (object === null || typeof object !== "object") return [];
  return object.type === "mrkdwn" ? mrkdwn(object.text, names) : [withEmoji(object.text)];
}

/** A control. Buttons work; menus and pickers are shown as Slack draws them closed. */
export function interactive(element, press) {
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
