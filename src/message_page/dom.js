// Building nodes. Data reaches the page only as text nodes and checked attributes, so it cannot become markup.

/** A new element: `el("p.big", { title: "x" }, "text", node)`. Missing children and attributes are left out. */
export function el(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  return filled(document.createElement(tag), classes, attributes, children);
}

/** The same for the elements of a drawing: `svg("path.line", { d })`. */
export function svg(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), classes, attributes, children);
}

function filled(node, classes, attributes, children) {
  if (classes.length > 0) node.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat(9).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** The objects of a value that should be an array of objects. */
export function list(value) {
  return Array.isArray(value) ? value.filter((item) => item !== null && typeof item === "object") : [];
}

/** The address where it is one that a message may link to; otherwise null (`javascript:` and the like). */
export function safeLink(address) {
  try {
    const url = new URL(String(address));
    return ["http:", "https:", "mailto:", "tel:", "slack:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** A link in a new tab, or just its label where the address is not safe. */
export function link(address, ...label) {
  const href = safeLink(address);
  return href === null
    ? el("span", {}, ...label)
    : el("a", { href, target: "_blank", rel: "noopener noreferrer", title: href }, ...label);
}

/** An image as a block has it; only https, as Slack demands of `image_url`. */
export function image(block, className) {
  const address = block.image_url ?? block.slack_file?.url ?? "";
  const alt = String(block.alt_text ?? "");
  if (!String(address).startsWith("https://")) return el(`span.${className}.missing`, { role: "img", "aria-label": alt }, alt);
  const node = el(`img.${className}`, { src: address, alt, title: alt, loading: "lazy", referrerpolicy: "no-referrer" });
  node.addEventListener("error", () => node.replaceWith(el(`span.${className}.missing`, { role: "img", "aria-label": alt }, alt)));
  return node;
}

const COLOURS = ["e8562c", "2b6cb0", "2f855a", "97266d", "b7791f", "5a67d8", "00838f", "ad1457"];

/** A rounded square with the initials of a name, in the given colour or one that follows from the name. */
export function avatar(name, colour, className) {
  const words = String(name).trim().split(/[\s._-]+/u).filter(Boolean);
  const initials = [words[0], words.length > 1 ? words.at(-1) : undefined].map((word) => [...(word ?? "")][0] ?? "").join("");
  const sum = [...String(name)].reduce((total, letter) => (total * 31 + letter.codePointAt(0)) % 65521, 7);
  const given = String(colour ?? "").replace(/^#/, "");
  const node = el(`span.avatar.${className}`, { "aria-hidden": "true" }, (initials || "?").toUpperCase());
  node.style.backgroundColor = `#${/^[0-9a-f]{6}$/i.test(given) ? given : COLOURS[sum % COLOURS.length]}`;
  return node;
}

/** Makes the children of `parent` the given ones, touching only what differs, so that focus and live regions hold. */
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  let at = parent.firstChild;
  for (const node of nodes) {
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
}
