/**
 * The page of all that waits for the reader: its forms are sent without leaving it, what begins to wait joins them, and what others decide
 * gives way to who has done so.
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
 * The deadlines that are counted down, each by this page's steady clock, in milliseconds.
 * @type {Map<HTMLElement, number>}
 */
const deadlines = new Map();

/** @param {ParentNode} among */
function setUpAll(among) {
  findAll(among, '[data-slot="form"]').forEach(setUpForm);
  for (const place of findAll(among, "[data-left]")) deadlines.set(place, performance.now() + Number(place.dataset.left) * 1000);
  countDown();
}

/** Say how long there is until each is decided by itself. */
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
 * Nothing waits there any more: only who has decided still stands there.
 *
 * @param {Element} item
 */
function settle(item) {
  for (const place of findAll(item, ".why, [data-left]")) place.remove();
  setText(find(item, ".state"), "");
}

/**
 * What has become of a call that waits no more, in place of its form.
 *
 * @param {HTMLElement} item
 */
function lookAgain(item) {
  /** @type {HTMLFormElement|null} */
  const form = find(item, "form");
  const place = find(item, '[data-slot="form"]');
  if (!form || !place) return;
  const asked = fetchPart(`${form.action}&part=form`, (body) => {
    // Its session is gone, or the reader's no more.
    if (asked.status === 404) item.remove();
    // One that is sent just now gets its own answer.
    if (body === null || find(body, "form") || !place.contains(form)) return;
    const hadFocus = place.contains(document.activeElement);
    replaceContent(place, body);
    settle(item);
    if (hadFocus) /** @type {HTMLElement|null} */ (find(place, "[role=alert]"))?.focus();
  });
}

/** Add what is not there yet, and look again at what is not listed any more; what somebody may be filling in is left alone. */
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
// As many as before may wait where one was decided and another has come.
onWaiting(() => void update());
