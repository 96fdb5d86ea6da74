/**
 * The frame of every page of a logged-in reader: the list of sessions, menus, dialogs, light and dark, and the keys.
 */

import { byId, closestTo } from "../lib/dom.js";
import { createApi } from "../transport/api.js";
import { localStore } from "../lib/storage.js";
import "../view/focus.js";
import { onWaiting, startNotifications } from "../view/notify.js";
import "./appearance.js";
import { setUpDialogs } from "./dialogs.js";
import "./drawer.js";
import "./keys.js";
import { refresh } from "./session-list.js";

/** The API, for the user that the page was rendered for. */
export const api = createApi({ user: byId("sessions").dataset.user });

startNotifications({ api, storage: localStore() });
onWaiting(() => void refresh());
document.addEventListener("thinkaloud:decided", () => void refresh());
setUpDialogs(api);

// ---- menus open beside what opens them ----

/** @type {HTMLElement|null} */
let opener = null;
document.addEventListener(
  "click",
  (event) => {
    opener = closestTo(event, '[popovertarget], [data-action="session-menu"]') ?? opener;
  },
  true,
);

/** @type {NodeListOf<HTMLElement>} */
const menus = document.querySelectorAll(".menu[popover]");
for (const menu of menus) {
  menu.addEventListener("toggle", (event) => {
    const isOpen = /** @type {ToggleEvent} */ (event).newState === "open";
    if (isOpen && opener) place(menu, opener.getBoundingClientRect());
    opener?.setAttribute("aria-expanded", String(isOpen));
  });
}

/**
 * Position a menu below or above an element, completely within the window.
 *
 * @param {HTMLElement} menu
 * @param {DOMRect} anchor
 */
function place(menu, anchor) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const fitsBelow = anchor.bottom + 4 + height <= innerHeight;
  menu.style.top = `${Math.max(8, fitsBelow ? anchor.bottom + 4 : anchor.top - height - 4)}px`;
  const left = anchor.left + width <= innerWidth - 8 ? anchor.left : anchor.right - width;
  menu.style.left = `${Math.max(8, left)}px`;
}

// ---- filters apply themselves ----

/** @type {NodeListOf<HTMLFormElement>} */
const filters = document.querySelectorAll("form[data-autosubmit]");
for (const form of filters) {
  form.addEventListener("change", (event) => closestTo(event, "select, [type=checkbox]") && form.requestSubmit());
}
