/**
 * The page of the schedules: kept up to date, and the switch that lets the browser tell.
 */

import { pathTo } from "../transport/addresses.js";
import { localStore } from "../transport/outbox.js";
import { isWanted, onNotification, want } from "../view/notify.js";
import { fetchPart } from "../lib/fragments.js";
import { notificationPermission } from "../lib/platform.js";
import { SENTENCES } from "../state/humanize.js";

const REFRESH_EVERY = 5_000;

const list = document.getElementById("schedules");
const storage = localStore();

// ---- the list, as the server renders it ----

/** The token of the forms is another one in each answer, and as good as the last. */
const textOf = (element) => element.innerHTML.replace(/name="csrfmiddlewaretoken" value="[^"]*"/gu, "").trim();

let shown = textOf(list);

function refresh() {
  const query = new URLSearchParams(location.search);
  query.set("part", "list");
  fetchPart(pathTo(`schedules/?${query}`), replace);
}

function replace(fresh) {
  if (fresh === null) return;
  const text = textOf(fresh);
  if (text === shown) return;
  shown = text;
  const open = new Set([...list.querySelectorAll("li:has(> details[open])")].map((item) => item.id));
  const focused = document.activeElement?.closest?.("#schedules") ? document.activeElement : null;
  const place = focused && [focused.closest("li[id]")?.id, focused.getAttribute("aria-label"), focused.tagName];
  list.replaceChildren(...[...fresh.childNodes].map((node) => document.adoptNode(node)));
  for (const item of list.querySelectorAll("li[id]")) {
    const details = item.querySelector("details");
    if (details) details.open = open.has(item.id);
  }
  if (!place?.[0]) return;
  const row = document.getElementById(place[0]);
  const again = place[1] ? row?.querySelector(`[aria-label="${CSS.escape(place[1])}"]`) : row?.querySelector(place[2]);
  again?.focus();
}

setInterval(() => document.visibilityState === "visible" && navigator.onLine && refresh(), REFRESH_EVERY);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh());
onNotification(refresh);

// ---- the browser's own notifications ----

const notify = document.getElementById("notify");
const box = notify.querySelector("input");
notify.hidden = false;
paintChoice();
box.addEventListener("change", async () => {
  await want(storage, box.checked);
  paintChoice();
});

/** Whether it is on; where it can't be, why. */
function paintChoice() {
  const why = SENTENCES.noNotifications[notificationPermission()] ?? "";
  box.checked = isWanted(storage);
  box.disabled = why !== "";
  notify.title = why;
  const words = document.getElementById("notify-why");
  words.textContent = why;
  words.hidden = why === "";
}
