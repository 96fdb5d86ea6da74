/** Light and dark, as the reader chooses; alone on pages of the administration. */

import { setData } from "../lib/dom.js";
import { keepPreference } from "./preferences.js";

const root = document.documentElement;
/** @type {NodeListOf<HTMLElement>} */
const themes = document.querySelectorAll("[data-theme-choice]");
for (const button of themes) {
  button.addEventListener("click", () => {
    const { themeChoice = "" } = button.dataset;
    setData(root, "theme", themeChoice);
    keepPreference("theme", themeChoice);
    // Where the page's template could not write on the document itself.
    document.querySelector('meta[name="theme"]')?.setAttribute("content", themeChoice);
    for (const other of themes) other.setAttribute("aria-pressed", String(other === button));
  });
  button.setAttribute("aria-pressed", String(button.dataset.themeChoice === chosen()));
}

/** What is chosen now; empty for what the system says. */
function chosen() {
  return root.dataset.theme ?? document.querySelector('meta[name="theme"]')?.getAttribute("content") ?? "";
}
