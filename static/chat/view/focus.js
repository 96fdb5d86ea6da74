/**
 * After every act, focus is where one goes on. What had it may have gone with the act: a row that was removed, a button that has done its
 * work, a menu that has closed. Browsers then put it nowhere, and whoever uses keys begins again at the top of the page.
 */

import { closestTo, findAll } from "../lib/dom.js";

const FOCUSABLE =
  "a[href], button:not([disabled]), input:not([disabled]), textarea:not([disabled]), select:not([disabled]), summary, [tabindex]:not([tabindex='-1'])";
/** Lists whose next row goes on where one was removed. */
const LISTS = "#waiting, #notices, .steps, .side-list, .list, .composer";
const LOOK_EVERY = 250;

/** What had focus last, and where it stood: the way up from it, and its place among what can have focus there. */
/** @typedef {{target: HTMLElement, path: Element[], list: HTMLElement|null, row: string|null, place: number}} Place */

/** @type {Place|null} */
let last = null;

document.addEventListener("focusin", ({ target }) => {
  if (!(target instanceof HTMLElement)) return;
  // Whatever closes hands on to where it was opened from.
  if (target.closest("dialog, [popover]")) return;
  /** @type {HTMLElement|null} */
  const list = target.closest(LISTS);
  const row = target.closest("[data-session]")?.getAttribute("data-session") ?? null;
  /** @type {Element[]} */
  const path = [];
  for (let outer = /** @type {Element|null} */ (target); outer; outer = outer.parentElement) path.push(outer);
  last = { target, path, list, row, place: list ? reachable(list).indexOf(target) : -1 };
});

/** A press on an empty place takes focus away on purpose. */
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

/** Put focus where one goes on, if what had it is gone. */
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
  // Within a run, its own row or the run.
  for (const outer of path) {
    if (isThere(outer) && outer.closest("#log") && !outer.matches("#log")) {
      const near = reachable(outer)[0];
      if (near) return near;
    }
  }
  const box = document.getElementById("message");
  // On glass, focus in a box opens the keyboard over what is being read.
  if (box && isThere(box) && !matchMedia("(pointer: coarse)").matches) return box;
  /** @type {HTMLElement|null} */
  const whole = document.querySelector("main .scroll") ?? document.getElementById("content");
  if (whole && !whole.hasAttribute("tabindex")) whole.tabIndex = -1;
  return whole;
}

for (const act of ["click", "keyup", "close", "toggle"]) document.addEventListener(act, () => setTimeout(keepFocus), true);
// Much that an act asks for happens only when the server has answered.
setInterval(keepFocus, LOOK_EVERY);
