/**
 * Forms that are answered by a passkey: the server's challenge is in the form, or is fetched from its address; the browser's answer is sent
 * as one of its fields.
 */

import { gettext } from "../lib/gettext.js";
import { askForPasskey, hasPasskeys } from "../lib/platform.js";

/** @typedef {HTMLFormElement & { credential: HTMLInputElement }} PasskeyForm */

/**
 * The challenge that the server wants to have signed.
 *
 * @param {PasskeyForm} form
 * @returns {Promise<any>}
 */
async function findQuestion(form) {
  if (form.dataset.options) return JSON.parse(form.dataset.options);
  const body = new FormData(form);
  body.delete("credential");
  const answer = await fetch(form.action, { method: "POST", body, credentials: "same-origin" });
  if (!answer.ok) throw new Error(`answered ${answer.status}`);
  return (await answer.json()).options;
}

/**
 * Ask the browser, which asks the user.
 *
 * @param {PasskeyForm} form
 */
async function answerForm(form) {
  const { publicKey } = await findQuestion(form);
  form.credential.value = await askForPasskey(publicKey, form.dataset.passkey === "create");
  form.submit();
}

for (const element of document.querySelectorAll("form[data-passkey]")) {
  const form = /** @type {PasskeyForm} */ (element);
  const problem = form.querySelector("[role=alert]");
  const showStatus = (/** @type {string} */ words) => {
    if (problem instanceof HTMLElement) problem.textContent = words;
  };
  form.hidden = false;
  if (!hasPasskeys()) showStatus(gettext("Passkeys need a newer browser, and an address that begins with https or is localhost."));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!hasPasskeys()) return;
    showStatus("");
    answerForm(form).catch(() => showStatus(gettext("That did not work, or was cancelled. Try again.")));
  });
}
