/**
 * Notices at the top of a page, which the reader may close.
 */

import { byId, clone, find, setIcon, setText, slot } from "../lib/dom.js";

const notices = byId("notices");

/** How long a passing notice is shown, in milliseconds. */
const PASSING = 5_000;

/**
 * @typedef {object} Notice
 * @property {string} [title]
 * @property {string} [text]
 * @property {string} [tone] `wait` or `fail`; none for what is neither
 * @property {string} [icon] a symbol of the sprite
 * @property {{text: string, run: () => void}} [button]
 * @property {{text: string, href: string}} [link]
 * @property {boolean} [closable]
 * @property {boolean} [passing]
 */

/**
 * Show a notice at the top of the page. It replaces one of the same kind. The caller closes a notice about a lasting condition when that
 * has passed; a `passing` one disappears automatically.
 *
 * @param {string} kind
 * @param {Notice} what
 */
export function notice(kind, { title = "", text = "", tone = "", icon = "bell", button, link, closable = true, passing = false }) {
  closeNotice(kind);
  const banner = clone("banner");
  banner.dataset.kind = kind;
  if (tone) banner.classList.add(tone);
  setIcon(slot(banner, "icon"), icon);
  setText(slot(banner, "title"), title);
  setText(slot(banner, "text"), text);
  if (button) {
    const element = slot(banner, "button");
    element.hidden = false;
    setText(element, button.text);
    element.addEventListener("click", button.run);
  }
  if (link) {
    /** @type {HTMLAnchorElement} */
    const element = slot(banner, "link");
    element.hidden = false;
    setText(element, link.text);
    element.href = link.href;
  }
  const close = find(banner, '[data-action="close-banner"]');
  close.hidden = !closable;
  close.addEventListener("click", () => banner.remove());
  banner.setAttribute("role", "status");
  notices.append(banner);
  if (passing) setTimeout(() => banner.remove(), PASSING);
}

/**
 * Remove a notice, if it is there.
 *
 * @param {string} kind
 */
export function closeNotice(kind) {
  for (const banner of [...notices.children]) if (banner.getAttribute("data-kind") === kind) banner.remove();
}
