/**
 * Functions for the rows of an outline and for the answer.
 */

import { setText, slot } from "../lib/dom.js";

/**
 * Give a row the number of its stored event, to which links can point.
 *
 * @param {HTMLElement} element
 * @param {number|null} seq null where it has none
 * @param {string} [shown] the number that it shows, where that is another one
 */
export function setNumber(element, seq, shown) {
  if (shown) setText(slot(element, "n"), shown);
  if (seq === null) return;
  element.id = `s${seq}`;
  /** @type {HTMLAnchorElement} */
  const link = slot(element, "n");
  setText(link, shown || String(seq));
  link.href = `#s${seq}`;
}
