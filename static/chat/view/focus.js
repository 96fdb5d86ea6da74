/**
 * Keeps the focus in a useful place after every action. The focused element may be removed by the action: a row that is deleted, a button
 * that has done its work, a menu that closes. Browsers then move the focus nowhere, and keyboard users start again at the top of the page.
 */

import { closestTo, findAll } from "../lib/dom.js";
import { readText, removeText, tabStore, writeText } from "../lib/storage.js";

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

// ---- when the page is loaded again ----

const KEPT = "thinkaloud.focus";
/** Whether the last action was one of the keyboard: others see where they are. */
let isByKeys = false;
for (const press of ["keydown", "pointerdown"]) document.addEventListener(press, () => (isByKeys = press === "keydown"), true);

/**
 * What tells a form from the others of its page: where it goes, and what it is about.
 *
 * @param {HTMLFormElement} form
 */
function signature(form) {
  /** @type {HTMLInputElement[]} */
  const hidden = findAll(form, "input[type=hidden]:not([name=csrfmiddlewaretoken], [name=form_key])");
  return [form.getAttribute("action") ?? "", ...hidden.map(({ name, value }) => `${name}=${value}`)].join(" ");
}

/** Keep the place for the same page, which is about to be loaded again: its form was sent, or one of its rows has changed. */
export function keepFocusOverReload() {
  if (last === null || !isByKeys) return;
  const { target, row } = last;
  const form = target.closest("form");
  const places = [document.body, form].map((within) => (within ? reachable(within).indexOf(target) : -1));
  const sameRow = row ? `${target.closest("main") ? "main" : "#sessions"} [data-session="${row}"] a` : "";
  writeText(tabStore(), KEPT, [location.pathname, sameRow, ...places, form ? signature(form) : ""].join("\n"));
}

document.addEventListener("submit", (event) => event.defaultPrevented || keepFocusOverReload());

/** Focus the same row or form again, or what has taken its place. */
function focusAgain() {
  const [path, row, place, placeInForm, ...lines] = readText(tabStore(), KEPT)?.split("\n") ?? [];
  removeText(tabStore(), KEPT);
  if (path !== location.pathname || document.activeElement !== document.body) return;
  /** @type {HTMLElement|null} */
  const sameRow = row ? document.querySelector(row) : null;
  const about = lines.join("\n");
  /** @type {HTMLFormElement[]} */
  const forms = about ? findAll(document, "main form") : [];
  const sameForm = forms.find((form) => signature(form) === about);
  const same = sameRow ?? (sameForm && reachable(sameForm)[Number(placeInForm)]);
  if (same) {
    same.focus();
    return;
  }
  const first = Number(place) - (about ? Number(placeInForm) : 0);
  const next = reachable(document.body).slice(0, first + 1).at(-1);
  /** @type {HTMLElement|null|undefined} */
  const item = next?.closest("li:has(form[method=post])");
  // A second press of the same key must not do to the next one what was meant for the first.
  if (item) item.tabIndex = -1;
  (item ?? next)?.focus();
}

focusAgain();

for (const act of ["click", "keyup", "close", "toggle"]) document.addEventListener(act, () => setTimeout(keepFocus), true);
// Many results of an action appear only after the server's answer.
setInterval(keepFocus, LOOK_EVERY);
