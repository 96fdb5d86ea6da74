/**
 * A secret that is shown once, with a button that copies it.
 */

import { copy } from "../lib/clipboard.js";
import { findAll } from "../lib/dom.js";

for (const button of findAll(document, "button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => void copy({ text: document.getElementById(button.dataset.copy ?? "")?.textContent ?? "" }, button));
}
