/**
 * How much waits for the reader, over all their sessions: beside the link to it, and before the title of the tab.
 */

import { setShown, setText } from "../lib/dom.js";

let count = 0;
/** @type {Set<(number: number) => void>} */
const watchers = new Set();

/**
 * Call a function whenever the number changes.
 *
 * @param {(number: number) => void} watcher
 */
export function onNeeds(watcher) {
  watchers.add(watcher);
}

const prefix = () => (count ? `(${count}) ` : "");

/**
 * A title as the tab shows it.
 *
 * @param {string} title
 */
export function badged(title) {
  return prefix() + title;
}

/**
 * Say how much waits.
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
