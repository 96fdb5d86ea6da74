/**
 * Copying to the clipboard: the button shows for a moment that it worked; a failure is reported in words.
 */

import { setIcon } from "./dom.js";
import { closeNotice, notice } from "../view/notices.js";
import { writeClipboard } from "./platform.js";
import { SENTENCES } from "../state/messages.js";

const SHOWN_FOR = 1_200;
/**
 * What each button shows when nothing was just copied.
 * @type {WeakMap<Element, {label: string, symbol: string, timer?: ReturnType<typeof setTimeout>}>}
 */
const plain = new WeakMap();

/**
 * @param {{text: string|Promise<string>, html?: string}} content
 * @param {Element|null} button what was pressed, where it stays in sight; null shows a notice instead
 * @returns {Promise<boolean>} whether it was copied
 */
export async function copy({ text, html = "" }, button) {
  const isEmpty = text === "";
  const isDone = !isEmpty && (await writeClipboard(text, html));
  const words = isDone ? SENTENCES.copied : isEmpty ? SENTENCES.nothingToCopy : SENTENCES.notCopied;
  if (isDone) closeNotice("copy");
  if (!isDone || button === null) notice("copy", { title: words, tone: isDone ? "" : "wait", icon: isDone ? "check" : "warn", passing: true });
  if (button !== null) showInButton(button, isDone ? "check" : "warn", words);
  return isDone;
}

/**
 * @param {Element} button
 * @param {string} symbol
 * @param {string} words
 */
function showInButton(button, symbol, words) {
  const icon = button.querySelector("svg");
  const before = plain.get(button) ?? {
    label: button.getAttribute("aria-label") ?? "",
    symbol: icon?.querySelector("use")?.getAttribute("href")?.split("#i-")[1] ?? "",
  };
  clearTimeout(before.timer);
  setIcon(icon, symbol);
  button.setAttribute("aria-label", words);
  before.timer = setTimeout(() => {
    setIcon(icon, before.symbol);
    button.setAttribute("aria-label", before.label);
    plain.delete(button);
  }, SHOWN_FOR);
  plain.set(button, before);
}
