/**
 * A tool's arguments and result inside its card: JSON as a table or a tree, text as text, and the whole of a long result.
 */

import { clone, closest, closestTo, find, findAll, make, setShown, setText, slot, visible } from "../lib/dom.js";
import { ngettext } from "../lib/gettext.js";
import { asJson, duration, joined, showing, size } from "../state/humanize.js";
import { SENTENCES } from "../state/messages.js";
import { highlight } from "../lib/colouring.js";
import { fillFiles } from "./files.js";

/** @import { CallResult } from "../state/types.js" */

const TABLE_COLUMNS = 12;
const TABLE_ROWS = 50;
const TREE_CHILDREN = 100;
/** Characters in one piece of a long text: small enough that invisible pieces cost nothing. */
const PIECE = 16_000;

/**
 * Fill the part that shows a call's arguments.
 *
 * @param {HTMLElement} card
 * @param {any} args
 */
export function fillArguments(card, args) {
  const part = find(card, '[data-part="arguments"]');
  const { code, language, pairs } = argumentsRow(args);
  const list = slot(part, "pairs");
  list.replaceChildren(...pairs.flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
  setShown(list, pairs.length > 0);
  const block = slot(part, "code");
  block.textContent = visible(code);
  block.dataset.language = language;
  delete block.dataset.done;
  setShown(block, code !== "");
}

/**
 * How an open card shows the arguments: code in a block, plain values as pairs, anything deeper as JSON.
 *
 * @param {any} args
 * @returns {{code: string, language: string, pairs: [string, string][]}}
 */
export function argumentsRow(args) {
  if (args === null || typeof args !== "object" || Array.isArray(args)) {
    return { code: typeof args === "string" ? args : asJson(args), language: "", pairs: [] };
  }
  const hasCode = typeof args.code === "string";
  const rest = Object.entries(args).filter(([name]) => name !== "code" || !hasCode);
  if (rest.some(([, value]) => value !== null && typeof value === "object")) {
    return { code: asJson(args), language: "json", pairs: [] };
  }
  return {
    code: hasCode ? args.code : "",
    language: hasCode ? "python" : "",
    pairs: rest.map(([name, value]) => [name, typeof value === "string" ? value : asJson(value)]),
  };
}

/**
 * Fill the part that shows a call's result.
 *
 * @param {HTMLElement} card
 * @param {CallResult|null} result
 * @param {(seq: number) => string} contentUrl
 */
export function fillResult(card, result, contentUrl) {
  /** @type {HTMLElement} */
  const part = find(card, '[data-part="result"]');
  setShown(part, result !== null);
  if (result === null) return;
  setText(slot(part, "facts"), joined(size(result.content_length), duration(result.duration_ms)));
  slot(part, "content").textContent = visible(result.content);
  delete part.dataset.dressed;
  fillFiles(part, result.files);
  setShown(slot(part, "more"), result.truncated);
  if (result.truncated) {
    setText(slot(part, "cut"), showing(result.content.length, result.content_length));
    /** @type {HTMLAnchorElement} */
    const whole = slot(part, "whole");
    whole.href = contentUrl(result.seq ?? 0);
  }
}

/**
 * A card was opened: colour its code, and offer its result in several formats.
 *
 * @param {HTMLElement} card
 */
export function enhanceCard(card) {
  /** @type {HTMLElement|null} */
  const code = find(card, '[data-part="arguments"] [data-slot="code"]');
  if (code && !code.hidden) {
    highlight([code]);
    offerAll(code);
  }
  /** @type {HTMLElement} */
  const part = find(card, '[data-part="result"]');
  if (!part || part.hidden || part.dataset.dressed) return;
  part.dataset.dressed = "true";
  part.querySelector(".seg")?.remove();
  for (const old of part.querySelectorAll(".shape")) old.remove();
  const raw = slot(part, "content");
  setShown(raw, true);
  offerAll(raw);
  const value = parsed(raw.textContent);
  if (value === null || typeof value !== "object") return;
  const seg = clone("seg");
  const isTable = tabular(value);
  find(seg, '[data-as="table"]').hidden = !isTable;
  find(part, ".part-h .end").prepend(seg);
  /** The result in each format that was requested. @type {Record<string, HTMLElement>} */
  const shapes = { raw };
  /** @param {string} as */
  const choose = (as) => {
    if (!shapes[as]) {
      shapes[as] = as === "table" ? table(value) : tree(value);
      shapes[as].classList.add("shape");
      raw.after(shapes[as]);
    }
    for (const [name, shape] of Object.entries(shapes)) setShown(shape, name === as);
    setShown(part.querySelector(".all-lines"), as === "raw");
    for (const button of findAll(seg, "[data-as]")) button.setAttribute("aria-pressed", String(button.dataset.as === as));
  };
  seg.addEventListener("click", (event) => {
    const as = closestTo(event, "[data-as]")?.dataset.as;
    if (as) choose(as);
  });
  choose(isTable ? "table" : "tree");
}

/**
 * Offer to show the whole of a block that is cut to its first lines.
 *
 * @param {HTMLElement} block
 */
function offerAll(block) {
  if (block.nextElementSibling?.matches(".all-lines") || block.scrollHeight <= block.clientHeight + 4) return;
  const lines = block.textContent.trimEnd().split("\n").length;
  const button = make("button", SENTENCES.allLines(lines), "btn btn-text all-lines");
  button.type = "button";
  button.addEventListener("click", () => {
    block.classList.add("all");
    button.remove();
  });
  block.after(button);
}

/**
 * @param {string} text
 * @returns {any}
 */
function parsed(text) {
  const start = text.trimStart()[0];
  if (start !== "[" && start !== "{") return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * @param {any} value
 * @returns {value is Record<string, any>[]}
 */
function tabular(value) {
  if (!Array.isArray(value) || value.length === 0) return false;
  if (!value.every((row) => row !== null && typeof row === "object" && !Array.isArray(row))) return false;
  if (value.some((row) => Object.values(row).some((field) => field !== null && typeof field === "object"))) return false;
  return columns(value).length <= TABLE_COLUMNS;
}

/** @param {Record<string, any>[]} rows */
function columns(rows) {
  return [...new Set(rows.flatMap((row) => Object.keys(row)))];
}

/** @param {Record<string, any>[]} rows */
function table(rows) {
  const names = columns(rows);
  const numeric = names.map((name) => rows.every((row) => row[name] === undefined || typeof row[name] === "number"));
  const element = make("table", "", "grid");
  const head = element.createTHead().insertRow();
  names.forEach((name, index) => head.append(make("th", name, numeric[index] ? "r" : "")));
  const body = element.createTBody();
  /** @param {Record<string, any>[]} some */
  const fill = (some) => {
    for (const row of some) {
      const line = body.insertRow();
      names.forEach((name, index) => line.append(make("td", cell(row[name]), numeric[index] ? "r" : "")));
    }
  };
  fill(rows.slice(0, TABLE_ROWS));
  const box = make("div", "", "x");
  box.append(element);
  if (rows.length > TABLE_ROWS) {
    const more = make("button", ngettext("Show all %(n)d rows", "Show all %(n)d rows", rows.length), "btn btn-text");
    more.type = "button";
    more.addEventListener("click", () => {
      more.remove();
      fill(rows.slice(TABLE_ROWS));
    });
    box.append(more);
  }
  return box;
}

/** @param {any} value */
function cell(value) {
  if (value === undefined || value === null) return "";
  return typeof value === "number" ? String(value).replace("-", "−") : String(value);
}

/** @param {object} value */
function tree(value) {
  const box = make("div", "", "tree");
  box.append(branch(value));
  return box;
}

/** @param {object} value */
function branch(value) {
  const list = make("ul");
  const entries = Object.entries(value);
  /** @param {[string, any][]} some */
  const add = (some) => {
    for (const [name, child] of some) list.append(leaf(name, child));
  };
  add(entries.slice(0, TREE_CHILDREN));
  if (entries.length > TREE_CHILDREN) {
    const item = make("li");
    const more = make("button", ngettext("%(n)d more", "%(n)d more", entries.length - TREE_CHILDREN), "btn btn-text");
    more.type = "button";
    more.addEventListener("click", () => {
      item.remove();
      add(entries.slice(TREE_CHILDREN));
    });
    item.append(more);
    list.append(item);
  }
  return list;
}

/**
 * @param {string} name
 * @param {any} value
 */
function leaf(name, value) {
  const item = make("li");
  const key = make("span", `${name}: `, "k");
  if (value === null || typeof value !== "object") {
    item.append(key, make("span", JSON.stringify(value), typeof value === "string" ? "s" : "n"));
    return item;
  }
  const length = Object.keys(value).length;
  const details = make("details");
  const summary = make("summary");
  summary.append(key, make("span", Array.isArray(value) ? `[${length}]` : `{${length}}`, "c"));
  details.append(summary);
  details.addEventListener("toggle", () => details.append(branch(value)), { once: true });
  item.append(details);
  return item;
}

/**
 * Show the whole of a long result in a box of its own, in pieces, of which only visible ones are laid out.
 *
 * @param {HTMLElement} link
 * @param {() => Promise<string>} fetchContent
 */
export async function showWhole(link, fetchContent) {
  const part = closest(link, "[data-part]");
  const note = slot(part, "cut");
  const before = note.textContent;
  note.textContent = SENTENCES.loadingWhole;
  let text;
  try {
    text = await fetchContent();
  } catch {
    note.textContent = `${before} · ${SENTENCES.wholeFailed}`;
    return;
  }
  const raw = slot(part, "content");
  for (const shape of part.querySelectorAll(".shape, .seg, .all-lines")) shape.remove();
  setShown(raw, true);
  raw.classList.add("whole");
  raw.replaceChildren();
  setShown(slot(part, "more"), false);
  for (let offset = 0; offset < text.length; ) {
    const end = pieceEnd(text, offset);
    raw.append(make("span", text.slice(offset, end)));
    offset = end;
    if (offset % (PIECE * 8) < PIECE) await new Promise((resume) => setTimeout(resume));
  }
}

/**
 * @param {string} text
 * @param {number} offset
 */
function pieceEnd(text, offset) {
  const end = offset + PIECE;
  if (end >= text.length) return text.length;
  const line = text.indexOf("\n", end);
  if (line >= 0 && line - end < 4_000) return line + 1;
  return /[\uD800-\uDBFF]/u.test(text[end - 1]) ? end + 1 : end;
}
