/**
 * The form of a schedule: shows, while one types, when it would run.
 */

import { fetchPart } from "../lib/fragments.js";

const PAUSE = 250;

const place = document.getElementById("preview");
const form = place.closest("form");
const times = place.closest("fieldset");

let timer = null;
let asked = null;

function look() {
  asked?.abort();
  const said = new FormData(form);
  const query = new URLSearchParams(["when", "cron", "every_minutes", "at", "time_zone"].map((name) => [name, said.get(name) ?? ""]));
  // Nothing said yet is nothing wrong.
  place.hidden = !query.get(query.get("when"))?.trim();
  if (!place.hidden) asked = fetchPart(`${place.dataset.from}?${query}`, show);
}

function show(fresh) {
  if (fresh) place.replaceChildren(...[...fresh.childNodes].map((node) => document.adoptNode(node)));
}

times.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(look, PAUSE);
});
look();
