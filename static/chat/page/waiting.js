/**
 * The page of everything that waits for the reader: its forms are sent without leaving it, new calls are added, and forms of calls that
 * others decide are replaced by their decision.
 */

import { byId, find, findAll, setText } from "../lib/dom.js";
import { fetchPage, fetchPart, replaceContent } from "../lib/fragments.js";
import { setUpForm } from "../run/decision-form.js";
import { byItself } from "../state/decisions.js";
import { clock } from "../state/humanize.js";
import { onNeeds } from "../view/badge.js";
import { onWaiting } from "../view/notify.js";

const list = byId("needs-list");

/**
 * The deadlines, each as a time of this page's steady clock, in milliseconds.
 * @type {Map<HTMLElement, number>}
 */
const deadlines = new Map();

/** @param {ParentNode} among */
function setUpAll(among) {
  findAll(among, '[data-slot="form"]').forEach(setUpForm);
  for (const place of findAll(among, "[data-left]")) deadlines.set(place, performance.now() + Number(place.dataset.left) * 1000);
  countDown();
}

/** Show how much time is left until each deadline. */
function countDown() {
  for (const [place, at] of deadlines) {
    const item = place.closest("[data-call]");
    if (!item || !find(item, "form")) {
      deadlines.delete(place);
      if (item) settle(item);
      continue;
    }
    const request = { seq: null, at: 0, deadline: at, unanswered: place.dataset.unanswered ?? "deny", fields: "question" in place.dataset ? [] : null, text: "" };
    setText(place, byItself(request, clock(at - performance.now())));
  }
}

/**
 * The call no longer waits: only the decision is shown.
 *
 * @param {Element} item
 */
function settle(item) {
  for (const place of findAll(item, ".why, [data-left]")) place.remove();
  setText(find(item, ".state"), "");
}

/**
 * Show what has happened to a call that no longer waits, in place of its form.
 *
 * @param {HTMLElement} item
 */
function lookAgain(item) {
  /** @type {HTMLFormElement|null} */
  const form = find(item, "form");
  const place = find(item, '[data-slot="form"]');
  if (!form || !place) return;
  const asked = fetchPart(`${form.action}&part=form`, (body) => {
    // The session was deleted, or is not shared with the reader any more.
    if (asked.status === 404) item.remove();
    // A form that is being sent gets its own answer.
    if (body === null || find(body, "form") || !place.contains(form)) return;
    const hadFocus = place.contains(document.activeElement);
    replaceContent(place, body);
    settle(item);
    if (hadFocus) /** @type {HTMLElement|null} */ (find(place, "[role=alert]"))?.focus();
  });
}

/** Add new calls, and update those that are not listed any more; forms that may be in use are left alone. */
async function update() {
  const page = await fetchPage(location.href);
  if (page === null) return;
  const listed = new Set(findAll(page, "#needs-list > [data-call]").map((item) => item.dataset.call));
  for (const item of findAll(list, "[data-call]")) if (!listed.has(item.dataset.call)) lookAgain(item);
  const known = new Set(findAll(list, "[data-call]").map((item) => item.dataset.call));
  for (const item of findAll(page, "#needs-list > [data-call]")) {
    if (known.has(item.dataset.call)) continue;
    const added = /** @type {HTMLElement} */ (document.adoptNode(item));
    list.append(added);
    setUpAll(added);
    find(document, ".listing > .empty")?.remove();
  }
}

setUpAll(list);
setInterval(countDown, 1000);
onNeeds((number) => {
  if (number !== findAll(list, "form").length) void update();
});
// The number may be the same although one was decided and another one was added.
onWaiting(() => void update());
