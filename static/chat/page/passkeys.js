/**
 * Forms that a passkey answers: what the server asks stands in the form, or is fetched from where it is sent; the browser's answer goes back
 * as one of its fields.
 */

import { gettext } from "../lib/gettext.js";

/** @typedef {HTMLFormElement & { credential: HTMLInputElement }} PasskeyForm */

/**
 * What the server wants to have signed.
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
 * Ask the browser, which asks whoever sits before it.
 *
 * @param {PasskeyForm} form
 */
async function answerForm(form) {
  const { publicKey } = await findQuestion(form);
  const credential =
    form.dataset.passkey === "create"
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey) });
  if (!(credential instanceof PublicKeyCredential)) throw new Error("no passkey");
  form.credential.value = JSON.stringify(credential.toJSON());
  form.submit();
}

const canAnswer = typeof PublicKeyCredential === "function" && "parseRequestOptionsFromJSON" in PublicKeyCredential;

for (const element of document.querySelectorAll("form[data-passkey]")) {
  const form = /** @type {PasskeyForm} */ (element);
  const problem = form.querySelector("[role=alert]");
  const tell = (/** @type {string} */ words) => {
    if (problem instanceof HTMLElement) problem.textContent = words;
  };
  form.hidden = false;
  if (!canAnswer) tell(gettext("Passkeys need a newer browser, and an address that begins with https or is localhost."));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!canAnswer) return;
    tell("");
    answerForm(form).catch(() => tell(gettext("That did not work, or was cancelled. Try again.")));
  });
}
