import { made } from "/tree.js";
import { word } from "/words.js";

const share = (part, whole) => (whole ? word("of", { part, whole }) : "–");
const number = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));

function table(head, rows) {
  const box = made("table");
  const line = (cells, tag) => {
    const row = made("tr");
    row.append(...cells.map((cell) => made(tag, String(cell))));
    return row;
  };
  box.append(line(head.map((name) => word(name)), "th"), ...rows.map((row) => line(row, "td")));
  return box;
}

// What `internlm2_align.people.figures` gives, as tables, and the files to save.
export function figuresTable(found, download) {
  const domains = [...Object.entries(found.domains), [word("all"), {
    ...found,
    ...Object.fromEntries(["decided", "open", "disagreed"].map(
      (name) => [name, Object.values(found.domains).reduce((sum, each) => sum + each[name], 0)])),
  }]];
  const files = made("p", "", "files");
  files.append(`${word("export")}: `, ...["pairs", "judgements", "label_studio"].map((format) => {
    const button = made("button", word(format));
    button.onclick = () => download(format);
    return button;
  }));
  return [
    table(["domain", "decided", "open", "disagreed", "judgedTwice", "alpha"], domains.map(
      ([name, each]) => [name, each.decided, each.open, each.disagreed, each.judged_twice, number(each.alpha)])),
    table(["annotator", "judged", "skipped", "gold", "sides", "seconds"], Object.entries(found.annotators).map(
      ([name, each]) => [name, each.judged, each.skipped, share(each.gold_right, each.gold_judged),
        share(each.left, each.sided), number(each.median_seconds)])),
    table(["annotator", "both", "kappa"], found.kappa.map(
      (each) => [each.annotators.join(", "), each.both, number(each.kappa)])),
    files,
  ];
}
