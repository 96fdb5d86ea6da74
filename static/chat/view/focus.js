/**
 * Keeps the focus in a useful place after every action. The focused element may be removed by the action: a row that is deleted, a button
 * that has done its work, a menu that closes. Browsers then move the focus nowhere, and keyboard users start again at the top of the page.
 */

import { closestTo, findAll } from "../lib/dom.js";

const FOCUSABLE =
  "a[href], button:not([disabled]), input:not([disabled]), textarea:not([disabled]), select:not([disabled]), summary, [tabindex]:not([tabindex='-1'])";
/** Lists in which the next row gets the focus when one is removed. */
const LISTS = "#waiting, #notices, .steps, .side-list, .list, .composer";
const LOOK_EVERY = 250;

/** The element that was focused last, and where it was: its ancestors, and its position among their focusable elements. */
/** @typedef {{target: HTMLElement, path: Element[], list: HTMLElement|null, row: string|null, place: number}} Place */

/** @type {Place|null} */
let last = null;

document.addEventListener("focusin", ({ target }) => {
  if (!(target instanceof HTMLElement)) return;
  // A closed menu or dialog passes the focus to the element that opened it.
  if (target.closest("dialog, [popover]")) return;
  /** @type {HTMLElement|null} */
  const list = target.closest(LISTS);
  const row = target.closest("[data-session]")?.getAttribute("data-session") ?? null;
  /** @type {Element[]} */
  const path = [];
  for (let outer = /** @type {Element|null} */ (target); outer; outer = outer.parentElement) path.push(outer);
  last = { target, path, list, row, place: list ? reachable(list).indexOf(target) : -1 };
});

/** A press on an empty place removes the focus on purpose. */
document.addEventListener("pointerdown", (event) => {
  if (!closestTo(event, FOCUSABLE)) last = null;
});

/** @param {Element} within */
function reachable(within) {
  return findAll(within, FOCUSABLE).filter(isThere);
}

/** @param {Element} element */
function isThere(element) {
  return element.isConnected && (element.checkVisibility?.({ visibilityProperty: true }) ?? element.getClientRects().length > 0);
}

/** Move the focus if its element is gone. */
export function keepFocus() {
  const isNowhere = document.activeElement === null || document.activeElement === document.body;
  if (last === null || !isNowhere || document.querySelector("dialog[open], [popover]:popover-open")) return;
  if (isThere(last.target) && last.target.matches(FOCUSABLE)) return;
  const next = successor(last);
  last = null;
  next?.focus({ preventScroll: true });
}

/**
 * @param {Place} place
 * @returns {HTMLElement|null}
 */
function successor({ path, list, row, place }) {
  if (row) {
    /** @type {HTMLElement|null} */
    const again = document.querySelector(`[data-session="${row}"] a`);
    if (again && isThere(again)) return again;
  }
  if (list?.isConnected) {
    const rest = reachable(list);
    const beside = rest[Math.min(place, rest.length - 1)];
    if (beside) return beside;
  }
  // Within a run, to the row or the run.
  for (const outer of path) {
    if (isThere(outer) && outer.closest("#log") && !outer.matches("#log")) {
      const near = reachable(outer)[0];
      if (near) return near;
    }
  }
  const box = document.getElementById("message");
  // On touch screens, focusing a box opens the keyboard over the text that is being read.
  if (box && isThere(box) && !matchMedia("(pointer: coarse)").matches) return box;
  /** @type {HTMLElement|null} */
  const whole = document.querySelector("main .scroll") ?? document.getElementById("content");
  if (whole && !whole.hasAttribute("tabindex")) whole.tabIndex = -1;
  return whole;
}

for (const act of ["click", "keyup", "close", "toggle"]) document.addEventListener(act, () => setTimeout(keepFocus), true);
// Many results of an action appear only after the server's answer.
setInterval(keepFocus, LOOK_EVERY);
