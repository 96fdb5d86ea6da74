/**
 * Enter sends the start page's message even before the page's other scripts are loaded: by submitting the form, as its button does.
 */

import { isComposing } from "../lib/keyboard.js";

document.addEventListener("keydown", (event) => {
  const { target, key, shiftKey, altKey } = event;
  // Once the message box's own script has started, it handles the key.
  if (event.defaultPrevented || key !== "Enter" || shiftKey || altKey || isComposing(event)) return;
  if (!(target instanceof HTMLTextAreaElement) || target.id !== "message" || matchMedia("(pointer: coarse)").matches) return;
  event.preventDefault();
  if (target.value.trim()) target.form?.requestSubmit();
});
