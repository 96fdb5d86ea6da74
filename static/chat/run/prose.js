/**
 * Models' texts when they do not change any more: colours, formulas and copy buttons, each added once.
 */

import { highlight } from "../lib/colouring.js";
import { clone, find, findAll, slot } from "../lib/dom.js";
import { load, loaded, typeset } from "../lib/markdown.js";
import { createWriter } from "./growing.js";

const WITHOUT_COPY = ".codeblock > header:not(:has(button))";

/**
 * Each block of code has its own copy button, also while it grows.
 *
 * @param {ParentNode} prose
 */
export function offerCopies(prose) {
  for (const header of findAll(prose, WITHOUT_COPY)) header.append(clone("copy"));
}

/**
 * Add colours, formulas and copy buttons to finished blocks.
 *
 * @param {ChildNode[]} nodes all finished blocks of a text, in order
 * @param {{decorated?: number}} memory how many of them have been done; kept by the caller, changed here
 */
export function decorate(nodes, memory = {}) {
  const fresh = nodes.slice(memory.decorated ?? 0).filter((node) => node instanceof Element);
  memory.decorated = nodes.length;
  if (!fresh.length) return;
  /** @param {string} selector @returns {HTMLElement[]} */
  const all = (selector) =>
    fresh.flatMap((node) => [.../** @type {HTMLElement[]} */ (node.matches(selector) ? [node] : []), ...findAll(node, selector)]);
  for (const header of all(WITHOUT_COPY)) header.append(clone("copy"));
  whenUnselected(all("code[data-language]"), highlight);
  whenUnselected(all(".math"), typeset);
}

/**
 * A thought was opened: render it if the page has not done so, and decorate it, once.
 *
 * @param {Element} details
 */
export async function openThought(details) {
  const prose = slot(details, "text");
  if (prose.dataset.done) return;
  prose.dataset.done = "true";
  const unrendered = find(prose, ":scope > .unrendered:only-child");
  const renderer = loaded() ?? (await load());
  if (unrendered && renderer !== null) {
    const text = unrendered.textContent ?? "";
    prose.replaceChildren();
    createWriter(prose, renderer).finish(text);
  }
  decorate([...prose.childNodes]);
}

/**
 * Wait until nothing in these elements is selected: new nodes would destroy the selection.
 *
 * @param {HTMLElement[]} elements
 * @param {(elements: HTMLElement[]) => unknown} act
 */
function whenUnselected(elements, act) {
  const selection = document.getSelection();
  /** @param {Element} element */
  const isIn = (element) => selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
  const waiting = elements.filter(isIn);
  act(elements.filter((element) => !isIn(element)));
  if (waiting.length) document.addEventListener("selectionchange", () => whenUnselected(waiting, act), { once: true });
}
