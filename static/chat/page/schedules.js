/**
 * The page of schedules: kept up to date, with a switch for the browser's notifications.
 */

import { pathTo } from "../transport/addresses.js";
import { localStore } from "../lib/storage.js";
import { isWanted, onNotification, want } from "../view/notify.js";
import { byId, find } from "../lib/dom.js";
import { fetchPart, replaceContent } from "../lib/fragments.js";
import { notificationPermission } from "../lib/platform.js";
import { SENTENCES } from "../state/messages.js";

const REFRESH_EVERY = 5_000;

const list = byId("schedules");
const storage = localStore();

// ---- the list, as the server renders it ----

/** The forms' CSRF token differs in each answer, but is equally valid: it is ignored in comparisons. @param {Element} element */
const textOf = (element) => element.innerHTML.replace(/name="csrfmiddlewaretoken" value="[^"]*"/gu, "").trim();

let shown = textOf(list);

function refresh() {
  const query = new URLSearchParams(location.search);
  query.set("part", "list");
  fetchPart(pathTo(`schedules/?${query}`), replace);
}

/** @param {Element|null} fresh */
function replace(fresh) {
  if (fresh === null) return;
  const text = textOf(fresh);
  if (text === shown) return;
  shown = text;
  const open = new Set([...list.querySelectorAll("li:has(> details[open])")].map((item) => item.id));
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  replaceContent(list, fresh);
  for (const item of list.querySelectorAll("li[id]")) {
    const details = item.querySelector("details");
    if (details) details.open = open.has(item.id);
  }
  if (focused) focusAgain(focused);
}

/**
 * Focus the element that has replaced a focused one.
 *
 * @param {Element} gone
 */
function focusAgain(gone) {
  const row = document.getElementById(gone.closest("li[id]")?.id ?? "");
  const label = gone.getAttribute("aria-label");
  /** @type {HTMLElement|null|undefined} */
  const again = row?.querySelector(label ? `[aria-label="${CSS.escape(label)}"]` : gone.tagName);
  again?.focus();
}

setInterval(() => document.visibilityState === "visible" && refresh(), REFRESH_EVERY);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh());
onNotification(refresh);

// ---- the browser's own notifications ----

const notify = byId("notify");
/** @type {HTMLInputElement} */
const box = find(notify, "input");
notify.hidden = false;
paintChoice();
box.addEventListener("change", async () => {
  await want(storage, box.checked);
  paintChoice();
});

/** Whether it is on, or why it is not possible. */
function paintChoice() {
  const why = /** @type {Record<string, string>} */ (SENTENCES.noNotifications)[notificationPermission()] ?? "";
  box.checked = isWanted(storage);
  box.disabled = why !== "";
  notify.title = why;
  const words = byId("notify-why");
  words.textContent = why;
  words.hidden = why === "";
}
