/**
 * For every page: tell the server the reader's time zone, store the reader's choices, and send each form once.
 */

import { pathTo } from "../transport/addresses.js";

/** In seconds. */
const YEAR = 31_536_000;

/**
 * Store a small choice in a cookie, so that the server renders the next page accordingly.
 *
 * @param {string} name
 * @param {string} value empty forgets it
 */
export function keepPreference(name, value) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${name}=${value}; Path=${pathTo("")}; Max-Age=${value ? YEAR : 0}; SameSite=Lax${secure}`;
}

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && /^[\w+\-/]+$/u.test(zone)) keepPreference("tz", zone);

// The token in a form is as old as the page; a login in another tab has made a new one.
document.addEventListener(
  "submit",
  ({ target }) => {
    if (!(target instanceof HTMLFormElement)) return;
    /** @type {HTMLInputElement|null} */
    const field = target.querySelector("input[name=csrfmiddlewaretoken]");
    const now = document.cookie.match(/(?:^|;\s*)csrftoken=([^;]*)/u)?.[1];
    if (field && now) field.value = now;
  },
  true,
);

/** Milliseconds after which a form that has not led to another page may be sent again. */
const PATIENCE = 30_000;

/** What each form was sent with last, until the page is left. @type {Map<HTMLFormElement, string>} */
const sent = new Map();

/**
 * All that a form would send.
 *
 * @param {HTMLFormElement} form
 * @param {HTMLElement|null} submitter
 */
function contentOf(form, submitter) {
  const values = [...new FormData(form, submitter)].map(([name, value]) =>
    value instanceof File ? [name, value.name, value.size, value.lastModified] : [name, value],
  );
  return JSON.stringify([submitter?.getAttribute("formaction"), values]);
}

// A browser sends a form again for each press, and the server would do it again for each. What was changed meanwhile is sent.
document.addEventListener("submit", (event) => {
  const { target: form, submitter } = event;
  if (event.defaultPrevented || !(form instanceof HTMLFormElement) || form.method !== "post") return;
  const content = contentOf(form, submitter);
  if (sent.get(form) === content) {
    event.preventDefault();
    return;
  }
  sent.set(form, content);
  // The reader may have stopped it.
  setTimeout(() => sent.get(form) === content && sent.delete(form), PATIENCE);
});
// The reader may have come back.
addEventListener("pageshow", () => sent.clear());
