/**
 * The number of calls that wait for the reader, in all their sessions: beside the link to their page, and before the title of the tab.
 */

import { setShown, setText } from "../lib/dom.js";

let count = 0;
/** @type {Set<(number: number) => void>} */
const watchers = new Set();

/**
 * Register a function that is called when the number changes.
 *
 * @param {(number: number) => void} watcher
 */
export function onNeeds(watcher) {
  watchers.add(watcher);
}

const prefix = () => (count ? `(${count}) ` : "");

/**
 * A title with the number before it.
 *
 * @param {string} title
 */
export function badged(title) {
  return prefix() + title;
}

/**
 * Set the number.
 *
 * @param {number} number
 */
export function setBadge(number) {
  if (number === count) return;
  const title = document.title.slice(document.title.startsWith(prefix()) ? prefix().length : 0);
  count = number;
  document.title = badged(title);
  const badge = document.getElementById("needs");
  setText(badge, String(number));
  setShown(badge, number > 0);
  for (const look of watchers) look(number);
}
