/**
 * Enter sends the start page's message also while the page's other scripts are on their way: by the form, as its button does.
 */

import { isComposing } from "../lib/keyboard.js";

document.addEventListener("keydown", (event) => {
  const { target, key, shiftKey, altKey } = event;
  // Once the message box has begun, it takes the key itself.
  if (event.defaultPrevented || key !== "Enter" || shiftKey || altKey || isComposing(event)) return;
  if (!(target instanceof HTMLTextAreaElement) || target.id !== "message" || matchMedia("(pointer: coarse)").matches) return;
  event.preventDefault();
  if (target.value.trim()) target.form?.requestSubmit();
});
