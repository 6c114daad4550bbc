// Block Kit to nodes, one function for each kind of block. A kind not known here is shown as such, never dropped.

import { card, carousel, container } from "./cards.js";
import { chart } from "./charts.js";
import { avatar, el, image, list } from "./dom.js";
import { interactive, text } from "./elements.js";
import { withEmoji } from "./emoji.js";
import { markdown } from "./markdown.js";
import { richText } from "./rich_text.js";
import { dataTable, table } from "./tables.js";
import { plan, taskCard } from "./tasks.js";

/** The nodes of a message's blocks. `names` resolves mentions; `press(element, block)` is told of pressed buttons. */
export function blocks(message, names, press) {
  return list(message.blocks).map((block) => node(block, names, press));
}

/** A press is reported with the innermost block that has an id. */
function node(block, names, press) {
  const build = Object.hasOwn(KINDS, block.type) ? KINDS[block.type] : unsupported;
  return build(block, names, (element, inner) => press(element, inner?.block_id === undefined ? block : inner));
}

const KINDS = {
  header: (block) => el("h3.block.header", {}, withEmoji(block.text?.text)),
  divider: () => el("hr.block.divider"),
  section,
  context,
  actions: (block, _, press) => el("div.block.actions", {}, list(block.elements).map((element) => interactive(element, press))),
  image: (block) => el("figure.block.picture", {},
    block.title && el("figcaption", {}, withEmoji(block.title.text)), image(block, "large")),
  rich_text: (block, names) => el("div.block.rich", {}, richText(block, names)),
  markdown: (block) => el("div.block.markdown", {}, markdown(block.text)),
  card,
  carousel,
  container: (block, names, press) => container(block, names, list(block.child_blocks).map((child) => node(child, names, press))),
  plan,
  task_card: taskCard,
  table,
  data_table: dataTable,
  data_visualization: chart,
};

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

function unsupported(block) {
  return el("div.block.unsupported", {}, `unsupported block: ${block.type}`);
}

/** The avatar of whoever wrote a message: a member's initials or the app's own square. */
export function authorAvatar(author, size) {
  const node = avatar(author.initials || author.name, author.colour, size);
  if (author.app) node.classList.add("app");
  return node;
}
