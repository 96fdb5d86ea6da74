/**
 * The list of sessions as a drawer on phones, and closed or open beside the page on wide screens.
 */

import { closestTo } from "../lib/dom.js";
import { keepPreference } from "./preferences.js";

const PHONE = matchMedia("(max-width: 860px)");

document.addEventListener("click", (event) => {
  if (!closestTo(event, '[data-action="sessions"]') || PHONE.matches) return;
  event.preventDefault();
  const isClosed = document.body.classList.toggle("side-closed");
  keepPreference("side", isClosed ? "closed" : "");
});
addEventListener("hashchange", () => {
  if (location.hash === "#sessions" && PHONE.matches) document.querySelector("#sessions")?.querySelector("a")?.focus();
});
document.querySelector(".scrim")?.addEventListener("click", (event) => {
  event.preventDefault();
  closeDrawer();
});

/** Open the drawer, if the list is one. */
export function openDrawer() {
  if (PHONE.matches) location.hash = "sessions";
}

/** Close the drawer. Returns whether it was open. */
export function closeDrawer() {
  if (location.hash !== "#sessions") return false;
  // Only removing the hash lets :target close the drawer. "#" alone scrolls nothing here, because the page itself never scrolls.
  location.hash = "";
  return true;
}
