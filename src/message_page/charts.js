// Charts: pies, bars, areas and lines. A drawing is made for the width that it has, so that its words keep their size.

import { el, list, svg } from "./dom.js";
import { pictures } from "./emoji.js";

/** Slack's limits: series or slices, and points of a series. */
const SERIES = 6;
const POINTS = 20;
/** Beyond this a number is left out: coordinates would lose their precision. */
const LARGEST = 1e15;
const HEIGHT = 176;
/** The width of a letter, about, and the letters of a slanted name. */
const LETTER = 6.4;
const SLANTED = 15;

/** A data_visualization block: title, drawing, legend. */
export function chart(block) {
  const given = block.chart ?? {};
  const draw = Object.hasOwn(CHARTS, given.type) ? CHARTS[given.type] : unsupported;
  return el("figure.block.chart", {}, el("figcaption", {}, pictures(block.title)), draw(given, String(block.title ?? "")));
}

const CHARTS = { pie, bar: plot, area: plot, line: plot };

function unsupported(given) {
  return el("div.unsupported", {}, `unsupported chart: ${given.type}`);
}

function empty() {
  return el("p.nothing", {}, "This chart has no data.");
}

const drawable = (value) => typeof value === "number" && Math.abs(value) <= LARGEST;
const full = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 6 });
const short = (value) => value.toLocaleString("en-US", { notation: "compact", maximumSignificantDigits: 4 });

function legend(items) {
  return el("ul.legend", {}, items.map(([name, value], index) =>
    el("li", {}, el(`i.series${index + 1}`, { "aria-hidden": "true" }), el("span", {}, pictures(name)), value && el("span.share", {}, value))));
}

function pie(given, title) {
  const slices = list(given.segments).slice(0, SERIES).filter(({ value }) => drawable(value) && value > 0)
    .map(({ label, value }) => ({ name: String(label ?? ""), value }));
  const sum = slices.reduce((total, { value }) => total + value, 0);
  if (slices.length === 0) return empty();
  const share = (value) => `${((value / sum) * 100).toLocaleString("en-US", { maximumFractionDigits: 1 })}%`;
  let from = 0;
  const drawn = slices.map(({ name, value }, index) => {
    const to = from + value / sum;
    const shape = slices.length === 1 ? svg("circle.series1", { cx: 0, cy: 0, r: 98 }) : svg(`path.series${index + 1}`, { d: wedge(from, to) });
    from = to;
    shape.append(svg("title", {}, `${name}: ${full(value)} (${share(value)})`));
    return shape;
  });
  const said = `Pie chart, ${title}. ${slices.map(({ name, value }) => `${name}: ${share(value)}`).join(", ")}`;
  return el("div.pie", {}, svg("svg.slices", { viewBox: "-100 -100 200 200", role: "img", "aria-label": said }, drawn),
    legend(slices.map(({ name, value }) => [name, share(value)])));
}

/** A slice of the circle, between two parts of the whole turn, clockwise from the top. */
function wedge(from, to) {
  const at = (part) => `${fixed(98 * Math.sin(part * 2 * Math.PI))} ${fixed(-98 * Math.cos(part * 2 * Math.PI))}`;
  return `M0 0L${at(from)}A98 98 0 ${to - from > 0.5 ? 1 : 0} 1 ${at(to)}Z`;
}

const fixed = (number) => Math.round(number * 100) / 100;

/** Bars, areas and lines over categories. */
function plot(given, title) {
  const series = list(given.series).slice(0, SERIES).map((one) => ({
    name: String(one.name ?? ""),
    values: new Map(list(one.data).slice(0, POINTS).filter(({ value }) => drawable(value)).map(({ label, value }) => [String(label), value])),
  }));
  const axis = given.axis_config ?? {};
  const named = Array.isArray(axis.categories) ? axis.categories.map(String) : [...(series[0]?.values.keys() ?? [])];
  const categories = [...new Set(named)].slice(0, POINTS);
  const values = series.flatMap((one) => categories.map((category) => one.values.get(category)).filter(drawable));
  if (values.length === 0) return empty();
  const data = { kind: given.type, series, categories, ticks: ticks(values), title };
  const frame = el("div.frame", {}, drawing(data, 520));
  let drawn = 520;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width === 0 || width === drawn) return;
    drawn = width;
    frame.replaceChildren(drawing(data, width));
  }).observe(frame);
  return el("div.plot", {}, axis.y_label && el("div.axis.y", {}, pictures(axis.y_label)), frame,
    axis.x_label && el("div.axis.x", {}, pictures(axis.x_label)),
    (series.length > 1 || series[0].name !== "") && legend(series.map(({ name }) => [name])));
}

/** About five round numbers around zero and all values. */
function ticks(values) {
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  const rough = Math.max(high - low, 1e-9) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.floor(low / step);
  const last = Math.max(Math.ceil(high / step), first + 1);
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

function drawing(data, width) {
  const { kind, series, categories, title } = data;
  const marks = data.ticks.map(short);
  let left = Math.max(...marks.map((mark) => mark.length)) * LETTER + 10;
  const longest = Math.max(...categories.map((category) => [...category].length));
  const slanted = longest * LETTER + 8 > (width - left) / categories.length;
  if (slanted) left = Math.max(left, ...categories.map((category, index) => room(category, (index + 0.5) / categories.length, width)));
  const slot = (width - left) / categories.length;
  const low = data.ticks[0];
  const high = data.ticks.at(-1);
  const x = (index) => fixed(left + slot * (index + 0.5));
  const y = (value) => fixed(8 + (HEIGHT - 16) * (1 - (value - low) / (high - low)));
  const grid = data.ticks.flatMap((tick, index) => [
    svg(tick === 0 ? "line.zero" : "line.rule", { x1: left, x2: width, y1: y(tick), y2: y(tick) }),
    svg("text.tick", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, marks[index])]);
  const below = slanted ? slantedNames(categories, longest, slot, x) : levelNames(categories, x);
  const shapes = (kind === "bar" ? bars : curves)({ kind, series, categories, slot, x, y });
  const said = series.map((one) => `${one.name}: ${categories.filter((category) => one.values.has(category))
    .map((category) => `${category} ${full(one.values.get(category))}`).join(", ")}`).join("; ");
  const name = { bar: "Bar", area: "Area", line: "Line" }[kind];
  return svg("svg", { width, height: HEIGHT + below.height, viewBox: `0 0 ${width} ${HEIGHT + below.height}`, role: "img", "aria-label": `${name} chart, ${title}. ${said}` },
    grid, shapes, below.nodes);
}

/** The names of the categories, where there is room. */
function levelNames(categories, x) {
  return { height: 14, nodes: categories.map((category, index) => svg("text.tick", { x: x(index), y: HEIGHT + 8, "text-anchor": "middle" }, category)) };
}

/** The least left edge with which a slanted name, which ends at this part of the width, begins within the drawing. */
function room(category, part, width) {
  return (Math.min([...category].length, SLANTED) * LETTER * 0.77 - width * part) / (1 - part);
}

/** Slanted and shortened names, and on a narrow screen not all. */
function slantedNames(categories, longest, slot, x) {
  const every = Math.ceil(16 / slot);
  const cut = (text) => ([...text].length > SLANTED ? `${[...text].slice(0, SLANTED - 1).join("")}…` : text);
  const nodes = categories.map((category, index) => index % every === 0 && svg("text.tick",
    { x: x(index) + 4, y: HEIGHT + 4, "text-anchor": "end", transform: `rotate(-40 ${x(index) + 4} ${HEIGHT + 4})` }, svg("title", {}, category), cut(category)));
  return { height: Math.min(longest, SLANTED) * LETTER * 0.64 + 12, nodes };
}

function tip(one, category) {
  return svg("title", {}, `${one.name === "" ? "" : `${one.name}, `}${category}: ${full(one.values.get(category))}`);
}

function bars({ series, categories, slot, x, y }) {
  const group = Math.min(slot * 0.72, series.length * 48);
  const width = group / series.length;
  return series.flatMap((one, place) => categories.map((category, index) => {
    const value = one.values.get(category);
    if (value === undefined) return null;
    return svg(`rect.series${place + 1}`, {
      x: fixed(x(index) - group / 2 + place * width), width: fixed(Math.max(width - (width > 6 ? 2 : 0.5), 1)),
      y: Math.min(y(value), y(0)), height: Math.max(Math.abs(y(value) - y(0)), 1), rx: Math.min(2, width / 4),
    }, tip(one, category));
  }));
}

/** Lines with their points; an area is filled down to zero, and the first is at the back. */
function curves({ kind, series, categories, slot, x, y }) {
  const radius = kind === "area" || slot < 24 ? 2.5 : 3.5;
  return series.map((one, place) => {
    const runs = [];
    categories.forEach((category, index) => {
      if (!one.values.has(category)) return;
      if (index === 0 || !one.values.has(categories[index - 1])) runs.push([]);
      runs.at(-1).push([x(index), y(one.values.get(category)), category]);
    });
    const path = (run) => `M${run.map(([across, down]) => `${across} ${down}`).join("L")}`;
    return svg(`g.series${place + 1}`, {},
      kind === "area" && runs.map((run) => svg("path.fill", { d: `${path(run)}V${y(0)}H${run[0][0]}Z` })),
      runs.map((run) => svg("path.line", { d: path(run) })),
      runs.flat().map(([cx, cy, category]) => svg("circle.point", { cx, cy, r: radius }, tip(one, category))));
  });
}
