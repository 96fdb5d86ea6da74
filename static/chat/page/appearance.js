/** Light and dark, as the reader chooses; loaded alone on pages of the administration. */

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
    // On pages whose template cannot write attributes on the root element.
    document.querySelector('meta[name="theme"]')?.setAttribute("content", themeChoice);
    for (const other of themes) other.setAttribute("aria-pressed", String(other === button));
  });
  button.setAttribute("aria-pressed", String(button.dataset.themeChoice === chosen()));
}

/** The current choice; empty for the system's. */
function chosen() {
  return root.dataset.theme ?? document.querySelector('meta[name="theme"]')?.getAttribute("content") ?? "";
}
