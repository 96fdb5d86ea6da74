/**
 * Single-key shortcuts, ignored where the key may be text.
 */

import { byId } from "../lib/dom.js";
import { isComposing } from "../lib/keyboard.js";
import { localStore, readText, writeText } from "../lib/storage.js";
import { closeDrawer, openDrawer } from "./drawer.js";

/** @type {Map<string, () => void>} */
const keys = new Map();
const storage = localStore();
/** @type {HTMLInputElement} */
const hasLetters = byId("single-keys");

hasLetters.checked = readText(storage, "thinkaloud.keys") !== "off";
hasLetters.addEventListener("change", () => writeText(storage, "thinkaloud.keys", hasLetters.checked ? "on" : "off"));

/**
 * Register a single key. None may leave the page, stop or delete anything.
 *
 * @param {string} key
 * @param {() => void} run
 */
export function onKey(key, run) {
  keys.set(key, run);
}

/** Elements that take letters themselves: to write them, or to find a choice that begins with them. */
const TAKES_KEYS =
  "input:not([type=checkbox], [type=radio], [type=button], [type=submit], [type=reset], [type=file], [type=range], [type=color]), textarea, select," +
  "[contenteditable]:not([contenteditable=false]), [role=textbox], [role=searchbox], [role=combobox], [role=listbox], [role=menu], [role=menuitem]";

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && closeDrawer()) return;
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isComposing(event) || event.getModifierState("AltGraph")) return;
  if (document.querySelector("dialog[open], [popover]:popover-open")) return;
  if (event.target instanceof Element && event.target.closest(TAKES_KEYS)) return;
  const isLetter = event.key.length === 1;
  if (isLetter && (!hasLetters.checked || event.repeat)) return;
  const run = keys.get(event.key);
  if (run) {
    event.preventDefault();
    run();
  }
});

onKey("/", () => {
  openDrawer();
  byId("search").focus();
});
onKey("?", () => /** @type {HTMLDialogElement} */ (byId("keys-dialog")).showModal());
