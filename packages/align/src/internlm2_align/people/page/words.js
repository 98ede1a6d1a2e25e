// Words of the page in both languages.

const WORDS = {
  en: {
    title: "Label replies", other: "中文", label: "Label", disagreements: "Disagreements", figures: "Figures",
    raw: "Raw", rawTitle: "Show texts as they were written (v)", nameTitle: "You. Click to change.",
    yourName: "Your name, kept with each of your labels", begin: "Begin",
    leftBetter: "Left is better", rightBetter: "Right is better", left: "left", right: "right",
    "leftBetter/narrow": "Upper is better", "rightBetter/narrow": "Lower is better", "left/narrow": "upper", "right/narrow": "lower",
    much: "much", clearly: "clearly", slightly: "slightly", tie: "tie", both_bad: "both bad", bothBad: "Both bad",
    skip: "Skip", undo: "Undo", remark: "Remark (r)", lookAgain: "Look again (Enter)", better: "better",
    nothingLeft: "Nothing is left for you to judge. Others may hold some, or leave some that you can judge later.",
    noDisagreements: "There is no disagreement that you can resolve.",
    progress: "{decided} of {wanted} decided, {mine} by you", saidTitle: "What people said",
    undone: "Taken back: {said}. Judge again.", nothingToUndo: "There is nothing to take back.",
    unsaved: "Not saved yet: the server cannot be reached or cannot write. This page tries again by itself. What was saved is not lost.",
    wrongToken: "The token is wrong. Open the address that the server has printed.",
    refused: "The server refuses this: {error}", user: "User", assistant: "Assistant", system: "System",
    environment: "Result of a tool", domain: "domain", decided: "decided", open: "open", disagreed: "disagreed",
    alpha: "Krippendorff's alpha", judgedTwice: "judged by two or more", annotator: "annotator", judged: "judged",
    skipped: "skipped", gold: "gold questions right", sides: "left of one-sided", seconds: "median seconds",
    space: " ", kappa: "Cohen's kappa", both: "both judged", all: "all", of: "{part} of {whole}",
    export: "Save as a file", pairs: "Preference pairs", judgements: "All judgements", label_studio: "Label Studio",
  },
  zh: {
    title: "标注回答", other: "English", label: "标注", disagreements: "分歧", figures: "统计",
    raw: "原文", rawTitle: "显示原始文本 (v)", nameTitle: "你的名字，点击可更改",
    yourName: "你的名字（随每条标注保存）", begin: "开始",
    leftBetter: "左边更好", rightBetter: "右边更好", left: "左边", right: "右边",
    "leftBetter/narrow": "上面更好", "rightBetter/narrow": "下面更好", "left/narrow": "上面", "right/narrow": "下面",
    much: "好得多", clearly: "明显", slightly: "略好", tie: "一样好", both_bad: "都不好", bothBad: "都不好",
    skip: "跳过", undo: "撤销", remark: "备注 (r)", lookAgain: "再看看 (Enter)", better: "更好",
    nothingLeft: "现在没有需要你标注的内容。其他人可能正在标注一部分，稍后也许会有。",
    noDisagreements: "没有需要你裁决的分歧。",
    progress: "已定 {decided} / {wanted}，其中你标了 {mine} 条", saidTitle: "各人的判断",
    undone: "已撤销：{said}。请重新判断。", nothingToUndo: "没有可以撤销的标注。",
    unsaved: "尚未保存：无法连接服务器，或服务器无法写入。页面会自动重试，已保存的内容不会丢失。",
    wrongToken: "令牌不对。请打开服务器打印的地址。",
    refused: "服务器拒绝：{error}", user: "用户", assistant: "助手", system: "系统",
    environment: "工具结果", domain: "领域", decided: "已定", open: "待标", disagreed: "有分歧",
    alpha: "Krippendorff α", judgedTwice: "两人以上标注", annotator: "标注者", judged: "已标",
    skipped: "跳过", gold: "金标准题答对", sides: "选左边", seconds: "用时中位数（秒）",
    space: "", kappa: "Cohen κ", both: "共同标注", all: "全部", of: "{part} / {whole}",
    export: "保存为文件", pairs: "偏好对", judgements: "全部判断", label_studio: "Label Studio",
  },
};

let language = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");

// On a narrow screen the two replies lie one above the other. The width is that of page.css.
const narrow = matchMedia("(max-width: 760px)");

export function word(name, values = {}) {
  const words = WORDS[language];
  return ((narrow.matches && words[`${name}/narrow`]) || (words[name] ?? name)).replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

narrow.addEventListener("change", translate);

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
}

// Fill in what the page says by itself.
export function translate() {
  document.documentElement.lang = language;
  document.title = word("title");
  for (const [key, set] of [
    ["word", (element, words) => { element.textContent = words; }],
    ["title", (element, words) => { element.title = words; }],
    ["placeholder", (element, words) => { element.placeholder = words; element.setAttribute("aria-label", words); }],
  ]) {
    for (const element of document.querySelectorAll(`[data-${key}]`)) set(element, word(element.dataset[key]));
  }
}
