// Tables: plain ones, and those for data, which have pages and can be sorted. Both scroll inside themselves.

import { el } from "./dom.js";
import { pictures } from "./emoji.js";
import { richText } from "./rich_text.js";

/** Slack's limits: rows of a table and of a data_table with its header, cells of a row, rows of a page. */
const ROWS = { table: 100, data_table: 201 };
const CELLS = 20;
const PAGE = { most: 100, usual: 5 };

/** Plain rows, of which the first is the header. */
export function table(block, names) {
  const [header, ...rows] = grid(block);
  const settings = Array.isArray(block.column_settings) ? block.column_settings : [];
  const classes = (column) => {
    const { align, is_wrapped: wrapped } = settings[column] ?? {};
    return `${["center", "right"].includes(align) ? `.${align}` : ""}${wrapped === true ? ".wrapped" : ""}`;
  };
  const row = (cells, tag) => el("tr", {}, cells.map((cell, column) =>
    el(`${tag}${classes(column)}`, tag === "th" ? { scope: "col" } : {}, content(cell, names))));
  return el("div.block.table", {}, scroller("Table", el("table", {},
    header && el("thead", {}, row(header, "th")), el("tbody", {}, rows.map((cells) => row(cells, "td"))))));
}

/** A page of rows at a time; a press on a column's header sorts by it, up, down, and then not. */
export function dataTable(block, names) {
  const [header = [], ...rows] = grid(block);
  const caption = String(block.caption ?? "");
  const size = Number.isInteger(block.page_size) ? Math.min(Math.max(block.page_size, 1), PAGE.most) : PAGE.usual;
  const named = Number.isInteger(block.row_header_column_index) ? block.row_header_column_index : 0;
  const numbers = header.map((_, column) => rows.length > 0 && rows.every((cells) => cells[column]?.type === "raw_number"));
  const state = { column: -1, down: false, page: 0 };
  const side = (column) => (numbers[column] ? ".right" : "");

  const heads = header.map((cell, column) => el(`th${side(column)}`, { scope: "col" },
    el("button.sort", { type: "button", onclick: () => sort(column) }, content(cell, names), el("span.sign", { "aria-hidden": "true" }))));
  const body = el("tbody");
  const count = el("span.count", { role: "status" });
  const back = el("button.turn", { type: "button", "aria-label": "Previous page", onclick: () => turn(-1) }, "‹");
  const next = el("button.turn", { type: "button", "aria-label": "Next page", onclick: () => turn(1) }, "›");
  const last = Math.max(Math.ceil(rows.length / size) - 1, 0);

  function sort(column) {
    if (state.column !== column) Object.assign(state, { column, down: false });
    else if (!state.down) state.down = true;
    else state.column = -1;
    state.page = 0;
    show();
  }
  function turn(by) {
    state.page = Math.min(Math.max(state.page + by, 0), last);
    show();
  }
  function show() {
    const { column, down, page } = state;
    const sorted = column < 0 ? rows : rows.toSorted((a, b) => (down ? -1 : 1) * compare(a[column], b[column]));
    const shown = sorted.slice(page * size, (page + 1) * size);
    body.replaceChildren(...shown.map((cells) => el("tr", {}, cells.map((cell, at) =>
      el(`${at === named ? "th" : "td"}${side(at)}`, at === named ? { scope: "row" } : {}, content(cell, names))))));
    heads.forEach((head, at) => {
      if (at === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    count.textContent = `${page * size + 1}–${page * size + shown.length} of ${rows.length}`;
    back.disabled = page === 0;
    next.disabled = page === last;
  }
  show();
  return el("figure.block.table.data", {}, el("figcaption", {}, pictures(caption)),
    scroller(caption, el("table", { "aria-label": caption }, el("thead", {}, el("tr", {}, heads)), body)),
    last > 0 && el("div.pages", {}, count, back, next));
}

function grid(block) {
  const rows = Array.isArray(block.rows) ? block.rows.slice(0, ROWS[block.type]) : [];
  return rows.map((cells) => (Array.isArray(cells) ? cells.slice(0, CELLS) : []));
}

function scroller(label, inside) {
  return el("div.scroller", { tabindex: 0, role: "region", "aria-label": label }, inside);
}

/** What a cell contains; a text that does not wrap may be cut off, so it is also the tooltip. */
function content(cell, names) {
  if (cell?.type === "rich_text") return el("div.cell.rich", {}, richText(cell, names));
  const words = plain(cell);
  return el("div.cell", { title: words.length > 30 && words }, pictures(words));
}

function plain(cell) {
  return String(cell?.text ?? cell?.value ?? "");
}

function compare(a, b) {
  if (typeof a?.value === "number" && typeof b?.value === "number") return a.value - b.value;
  return words(a).localeCompare(words(b), "en", { numeric: true });
}

/** The text of a cell of any kind. */
function words(cell) {
  if (cell?.type !== "rich_text") return plain(cell);
  const node = el("div", {}, richText(cell, { user: () => undefined, channel: () => undefined }));
  return node.textContent;
}
