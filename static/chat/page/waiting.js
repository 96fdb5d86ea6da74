/**
 * The page of all that waits for the reader: its forms are sent without leaving it, and what begins to wait joins them.
 */

import { byId, find, findAll } from "../lib/dom.js";
import { fetchPage } from "../lib/fragments.js";
import { setUpForm } from "../run/decision-form.js";
import { onNeeds } from "../view/badge.js";

const list = byId("needs-list");

/** @param {ParentNode} among */
const setUpAll = (among) => findAll(among, '[data-slot="form"]').forEach(setUpForm);

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
onNeeds((number) => {
  if (number > findAll(list, "form").length) void addNew();
});
