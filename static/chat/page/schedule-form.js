/**
 * The form of a schedule: shows while typing when it would run.
 */

import { byId, closest } from "../lib/dom.js";
import { fetchPart, replaceContent } from "../lib/fragments.js";

const PAUSE = 250;

const place = byId("preview");
/** @type {HTMLFormElement} */
const form = closest(place, "form");
const times = closest(place, "fieldset");
/** The fields that determine the times. */
const FIELDS = ["when", "cron", "every_minutes", "at", "time_zone"];

/** @type {ReturnType<typeof setTimeout>|undefined} */
let timer;
/** @type {XMLHttpRequest|null} */
let asked = null;

function preview() {
  asked?.abort();
  const values = new FormData(form);
  const query = new URLSearchParams(FIELDS.map((name) => [name, String(values.get(name) ?? "")]));
  // An empty field is not an error yet.
  place.hidden = !query.get(query.get("when") ?? "")?.trim();
  if (!place.hidden) asked = fetchPart(`${place.dataset.from}?${query}`, show);
}

/** @param {HTMLElement|null} fresh */
function show(fresh) {
  if (fresh) replaceContent(place, fresh);
}

times.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(preview, PAUSE);
});
preview();
