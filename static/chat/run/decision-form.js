/**
 * The form for a decision or an answer: the server renders it and parses it, as on its own page without scripts.
 */

import { closestTo, find, findAll, setShown } from "../lib/dom.js";
import { fetchPart, postForm, replaceContent } from "../lib/fragments.js";
import { isComposing } from "../lib/keyboard.js";
import { SENTENCES } from "../state/messages.js";
import { csrfToken } from "../transport/api.js";

/** Elements that people write in: focus is not taken from there. */
const WRITES = "input, textarea, select, [contenteditable], dialog, [popover], .decide-form";

/**
 * Load the form into its place, unless it is there or being loaded.
 *
 * @param {HTMLElement} place
 * @param {HTMLAnchorElement} link to the form's own page, which is offered where the form can't be had
 * @param {string} address that page's
 */
export function loadForm(place, link, address) {
  if (place.dataset.from === address) return;
  place.dataset.from = address;
  fetchPart(`${address}&part=form`, (body) => {
    if (place.dataset.from !== address) return;
    if (body === null) {
      delete place.dataset.from;
      return;
    }
    replaceContent(place, body);
    setShown(link, false);
    setUpForm(place);
    const isWriting = document.activeElement?.closest(WRITES);
    const isFree = !isWriting || (isWriting instanceof HTMLTextAreaElement && isWriting.id === "message" && isWriting.value === "");
    if (isFree && place.getClientRects().length > 0) focusForm(place);
  });
}

/**
 * Remove the form, because the call no longer waits.
 *
 * @param {HTMLElement} place
 */
export function dropForm(place) {
  delete place.dataset.from;
  const hadFocus = place.contains(document.activeElement);
  place.replaceChildren();
  if (!hadFocus) return;
  /** @type {HTMLElement|null} */
  const next = document.querySelector('#log [data-slot="form"]:has(form)');
  if (next) focusForm(next);
  else document.getElementById("message")?.focus();
}

/**
 * Focus the field for the answer, or the group of buttons: Enter on the group allows nothing.
 *
 * @param {HTMLElement} place
 */
export function focusForm(place) {
  /** @type {HTMLElement|null} */
  const first = find(place, "[data-first]") ?? find(place, "form");
  first?.focus({ preventScroll: true });
}

/**
 * Send a form without leaving the page, also by Ctrl and Enter.
 *
 * @param {HTMLElement} place
 */
export function setUpForm(place) {
  /** @type {HTMLFormElement|null} */
  const form = find(place, "form");
  if (!form) return;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void send(place, form, /** @type {SubmitEvent} */ (event).submitter);
  });
  form.addEventListener("keydown", (event) => {
    const isSend = event.key === "Enter" && (event.ctrlKey || event.metaKey) && !isComposing(event);
    /** @type {HTMLButtonElement|null} */
    const main = find(form, "[data-main]");
    // It is disabled while the form is being sent.
    if (isSend && main && !main.disabled) form.requestSubmit(main);
    // Enter in a field of one line must not allow a call.
    const isLine = event.key === "Enter" && closestTo(event, "input:not([type=checkbox], [type=radio])");
    if (isSend || isLine) event.preventDefault();
  });
}

/**
 * @param {HTMLElement} place
 * @param {HTMLFormElement} form
 * @param {HTMLElement|null} submitter
 */
async function send(place, form, submitter) {
  const address = new URL(form.action);
  address.searchParams.set("part", "form");
  const data = new FormData(form, submitter);
  // A login makes a new CSRF token, and the form may be older.
  data.set("csrfmiddlewaretoken", csrfToken());
  const buttons = findAll(form, "button:not([hidden])");
  for (const button of buttons) /** @type {HTMLButtonElement} */ (button).disabled = true;
  const status = /** @type {HTMLElement|null} */ (find(form, "[data-failed]"));
  if (status) status.hidden = true;
  const body = await postForm(address.href, data);
  if (body !== null) {
    // The log may have reported the same meanwhile.
    document.dispatchEvent(new Event("thinkaloud:decided"));
    if (!place.contains(form)) return;
    replaceContent(place, body);
    setUpForm(place);
    /** @type {HTMLElement|null} */ (find(place, "[role=alert]"))?.focus();
    return;
  }
  for (const button of buttons) /** @type {HTMLButtonElement} */ (button).disabled = false;
  if (status) {
    status.textContent = SENTENCES.failedRequest;
    status.hidden = false;
  }
}
