// Builds what the server has made of a text. Elements come from the two lists below and from nowhere else, texts are text
// nodes, and no HTML is ever parsed.

const HTML = new Set(
  "p ul ol li br hr blockquote em strong s table thead tbody tr th td pre code span h1 h2 h3 h4 h5 h6".split(" "));
const MATH = new Set(
  ("math menclose merror mfenced mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace msqrt " +
    "mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none semantics").split(" "));
const MATH_SPACE = "http://www.w3.org/1998/Math/MathML";
const CLASSES = new Set(["address", "call", "center", "formula", "right"]);

export function build(node) {
  if (typeof node === "string") return document.createTextNode(node);
  const [tag, attributes, children] = node;
  if (!HTML.has(tag) && !MATH.has(tag)) throw new Error(`unknown tag ${tag}`);
  const element = MATH.has(tag) ? document.createElementNS(MATH_SPACE, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (MATH.has(tag) || name === "start" || (name === "class" && CLASSES.has(value))) element.setAttribute(name, value);
  }
  element.append(...children.map(build));
  return element;
}

export function made(tag, words = "", name = "") {
  const element = document.createElement(tag);
  element.textContent = words;
  if (name) element.className = name;
  return element;
}

// A turn or a reply: its tree, or what was written if `raw`.
export function turn({ text, nodes }, raw) {
  const box = made("div", "", "text");
  box.append(...(raw ? [made("pre", text)] : nodes.map(build)));
  return box;
}
