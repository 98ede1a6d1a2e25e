import { figuresTable } from "/figures.js";
import { ask, insist, pending, Refused } from "/server.js";
import { made, turn } from "/tree.js";
import { switchLanguage, translate, word } from "/words.js";

const $ = (id) => document.getElementById(id);
const state = { view: "label", shown: null, since: 0, raw: false, busy: false, progress: null };
const annotator = () => localStorage.getItem("annotator") || "";
const KEYS = {
  ArrowLeft: ["left", 0], ArrowRight: ["right", 0], 1: ["left", 1], 2: ["left", 0.5], 3: ["left", 0.25], 4: ["tie", 0],
  5: ["right", 0.25], 6: ["right", 0.5], 7: ["right", 1], t: ["tie", 0], b: ["both_bad", 0], s: ["skip", 0],
};

function notice(words, isBad = false) {
  $("notice").hidden = !words;
  $("notice").textContent = words;
  $("notice").classList.toggle("bad", isBad);
}

function failed(error) {
  if (!(error instanceof Refused)) notice(word("unsaved"), true);
  else notice(error.status === 401 ? word("wrongToken") : word("refused", { error: error.message }), true);
}

// "left, clearly better", as the page says a verdict in words.
function verdictWords({ verdict, margin }) {
  if (verdict !== "left" && verdict !== "right") return word(verdict);
  const much = { 0.25: "slightly", 0.5: "clearly", 1: "much" }[margin];
  return [word(verdict), much ? word(much) : "", word("better")].filter(Boolean).join(word("space"));
}

function draw() {
  const { view, shown } = state;
  translate();
  $("language").textContent = word("other");
  $("name").textContent = annotator();
  $("name").hidden = !annotator();
  $("bar").hidden = !state.progress;
  $("raw").setAttribute("aria-pressed", state.raw);
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-current", button.dataset.view === view);
  }
  $("who").hidden = Boolean(annotator());
  const judging = annotator() && view !== "figures";
  $("task").hidden = !judging || !shown;
  $("verdicts").hidden = !judging;
  $("verdicts").classList.toggle("idle", !shown);
  $("empty").hidden = !judging || Boolean(shown) || !state.progress;
  $("table").hidden = !annotator() || view !== "figures";
  $("nothing").textContent = word(view === "label" ? "nothingLeft" : "noDisagreements");
  drawProgress();
  if (shown) drawTask(shown);
  for (const button of document.querySelectorAll("footer button, h2 button, nav button")) button.disabled = state.busy;
}

function drawProgress() {
  const { progress } = state;
  if (!progress) return;
  $("bar").max = Math.max(1, progress.wanted);
  $("bar").value = progress.decided;
  $("progress").textContent = word("progress", progress);
  $("progress").title = Object.entries(progress.domains)
    .map(([name, { decided, wanted }]) => `${name}: ${decided}/${wanted}`).join("\n");
  $("disagreed").textContent = progress.disagreed || "";
}

function drawTask(shown) {
  $("domain").textContent = shown.domain;
  $("asked").textContent = shown.condition;
  $("prompt").replaceChildren(...shown.prompt.map((each) => {
    const box = made("div", "", "turn");
    box.append(made("h3", [word(each.role), each.name].filter(Boolean).join(" · ")), turn(each, state.raw));
    return box;
  }));
  for (const side of ["left", "right"]) $(side).replaceChildren(turn(shown[side], state.raw));
  $("said").hidden = !shown.said.length;
  $("said").replaceChildren(made("h3", word("saidTitle")), ...shown.said.map((each) => {
    const line = made("p", `${each.annotator}: ${verdictWords(each)}`);
    if (each.remark) line.append(made("q", each.remark));
    return line;
  }));
}

function take(answer) {
  const isNew = answer.shown?.comparison !== state.shown?.comparison || answer.shown?.role !== state.shown?.role;
  state.shown = answer.shown;
  state.progress = answer.progress;
  if (!isNew) return;
  state.since = performance.now();
  $("remark").value = sessionStorage.getItem("remark") || "";
  window.scrollTo(0, 0);
  for (const side of ["left", "right"]) $(side).scrollTop = 0;
}

// One thing at a time: a second key while the first is being saved does nothing.
async function busy(work) {
  if (state.busy || !annotator()) return;
  state.busy = true;
  draw();
  try {
    await work();
  } catch (error) {
    failed(error);
  } finally {
    state.busy = false;
    draw();
  }
}

const body = () => ({ annotator: annotator(), role: state.view === "resolution" ? "resolution" : "label" });

const load = () => busy(async () => {
  const kept = pending();
  if (kept) await save(kept.body);
  else if (state.view === "figures") $("table").replaceChildren(...figuresTable(await ask("figures", {}), download));
  else take(await ask("next", body()));
});

async function save(said) {
  const answer = await insist("judge", said, () => notice(word("unsaved"), true));
  sessionStorage.removeItem("remark");
  $("remark").value = "";
  notice("");
  take(answer);
}

function judge(verdict, margin) {
  const { shown } = state;
  if (!shown || state.view === "figures") return;
  const seconds = (performance.now() - state.since) / 1000;
  const said = { comparison: shown.comparison, verdict, margin, seconds, remark: $("remark").value };
  busy(() => save({ ...body(), ...said }));
}

const undo = () => busy(async () => {
  const answer = await ask("undo", body());
  if (answer.undone) {
    state.view = answer.role;
    sessionStorage.setItem("remark", answer.undone.remark);
  }
  take(answer);
  notice(answer.undone ? word("undone", { said: verdictWords(answer.undone) }) : word("nothingToUndo"));
});

async function download(format) {
  const { name, text } = await ask("export", { format });
  const link = made("a");
  link.href = URL.createObjectURL(new Blob([text]));
  link.download = name;
  link.click();
}

function view(name) {
  state.view = name;
  state.shown = null;
  notice("");
  load();
}

for (const button of document.querySelectorAll("[data-view]")) button.onclick = () => view(button.dataset.view);
for (const button of document.querySelectorAll("[data-verdict]")) {
  button.onclick = () => judge(button.dataset.verdict, Number(button.dataset.margin || 0));
}
$("undo").onclick = undo;
$("again").onclick = load;
$("raw").onclick = () => { state.raw = !state.raw; draw(); };
$("language").onclick = () => { switchLanguage(); draw(); if (state.view === "figures") load(); };
$("name").onclick = () => {
  $("annotator").value = annotator();
  localStorage.removeItem("annotator");
  draw();
  $("annotator").focus();
};
$("remark").oninput = () => sessionStorage.setItem("remark", $("remark").value);
$("who").onsubmit = (event) => {
  event.preventDefault();
  localStorage.setItem("annotator", $("annotator").value.trim());
  state.shown = null;
  load();
  draw();
};

document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT") {
    if (event.key === "Escape" || (event.key === "Enter" && event.target === $("remark"))) event.target.blur();
    return;
  }
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !annotator()) return;
  if (KEYS[event.key]) judge(...KEYS[event.key]);
  else if (event.key === "u") undo();
  else if (event.key === "v") $("raw").click();
  else if (event.key === "r") $("remark").focus();
  else if (event.key === "Enter" && !state.shown && event.target.tagName !== "BUTTON") load();
  else return;
  event.preventDefault();
});

draw();
load();
