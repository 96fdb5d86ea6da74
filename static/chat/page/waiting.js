/**
 * The page of all that waits for the reader: its forms are sent without leaving it, and what begins to wait joins them.
 */

import { byId, find, findAll, setText } from "../lib/dom.js";
import { fetchPage } from "../lib/fragments.js";
import { setUpForm } from "../run/decision-form.js";
import { byItself } from "../state/decisions.js";
import { clock } from "../state/humanize.js";
import { onNeeds } from "../view/badge.js";

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
    if (!place.isConnected) {
      deadlines.delete(place);
      continue;
    }
    const request = { seq: null, at: 0, deadline: at, unanswered: place.dataset.unanswered ?? "deny", fields: "question" in place.dataset ? [] : null, text: "" };
    setText(place, byItself(request, clock(at - performance.now())));
  }
}

/** Add what is not there yet; what somebody may be filling in is left alone. */
async function addNew() {
  const page = await fetchPage(location.href);
  const known = new Set(findAll(list, "[data-call]").map((item) => item.dataset.call));
  for (const item of findAll(page ?? document.createElement("ul"), "#needs-list > [data-call]")) {
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
  if (number > findAll(list, "form").length) void addNew();
});
