/**
 * The API's page: filters calls by words, and tries them with the reader's own login.
 */

import { findAll } from "../lib/dom.js";
import { pathTo } from "../transport/addresses.js";
import { csrfToken } from "../transport/api.js";

/** How many characters of an answer are shown. */
const SHOWN = 20_000;
const finder = /** @type {HTMLInputElement} */ (document.getElementById("find-call"));
const calls = findAll(document, "[data-call]").map((call) => ({ call, words: (call.textContent ?? "").toLowerCase() }));
const groups = findAll(document, "[data-calls]");

/** Show the calls that contain all words. */
function filterCalls() {
  const wanted = finder.value.toLowerCase().split(/\s+/u).filter(Boolean);
  for (const { call, words } of calls) {
    call.hidden = !wanted.every((word) => words.includes(word));
  }
  for (const group of groups) {
    group.hidden = findAll(group, "[data-call]").every((call) => call.hidden);
  }
}

/**
 * The address of a call, with the typed values in it.
 *
 * @param {HTMLFormElement} form
 */
function addressOf(form) {
  let path = form.dataset.path ?? "";
  const query = new URLSearchParams();
  for (const field of /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll("input[data-in]"))) {
    if (field.dataset.in === "path") {
      path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
    } else if (field.value) {
      query.set(field.name, field.value);
    }
  }
  return pathTo(path.replace(/^\//u, "")) + (query.size > 0 ? `?${query}` : "");
}

/**
 * Send a call, and show the answer.
 *
 * @param {HTMLFormElement} form
 */
async function send(form) {
  const status = /** @type {HTMLElement} */ (form.parentElement?.querySelector("[role=status]"));
  const shown = /** @type {HTMLElement} */ (form.parentElement?.querySelector("pre"));
  const body = /** @type {HTMLTextAreaElement | null} */ (form.querySelector("textarea"))?.value;
  const method = form.dataset.try ?? "GET";
  status.textContent = "…";
  try {
    const answer = await fetch(addressOf(form), {
      method,
      credentials: "same-origin",
      headers: {
        ...(method === "GET" ? {} : { "X-CSRFToken": csrfToken() }),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      },
      ...(body === undefined ? {} : { body }),
    });
    const text = await answer.text();
    status.textContent = `${answer.status} ${answer.statusText}`;
    /** @type {HTMLElement} */ (shown.firstElementChild).textContent = indented(text).slice(0, SHOWN);
    shown.hidden = text === "";
  } catch (error) {
    status.textContent = String(error);
    shown.hidden = true;
  }
}

/**
 * JSON indented; anything else unchanged.
 *
 * @param {string} text
 */
function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

finder.hidden = false;
finder.addEventListener("input", filterCalls);
for (const details of findAll(document, "details.try")) {
  details.hidden = false;
}
for (const form of /** @type {NodeListOf<HTMLFormElement>} */ (document.querySelectorAll("form[data-try]"))) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void send(form);
  });
}
