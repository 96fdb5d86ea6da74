/**
 * The page of a set of cases: its table is kept up to date while the set is running.
 */

import { byId } from "../lib/dom.js";
import { fetchPart, replaceContent } from "../lib/fragments.js";

const REFRESH_EVERY = 1_500;

const table = byId("case-table");

/** @param {Element|null} fresh */
function replace(fresh) {
  if (fresh === null || table.contains(document.activeElement)) return;
  replaceContent(table, fresh);
  table.dataset.running = table.querySelector("[data-running]") ? "1" : "";
}

setInterval(() => {
  if (!table.dataset.running || document.visibilityState !== "visible") return;
  const query = new URLSearchParams(location.search);
  query.set("part", "table");
  fetchPart(`${location.pathname}?${query}`, replace);
}, REFRESH_EVERY);
