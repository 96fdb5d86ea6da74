/**
 * For every page: tell the server the reader's time zone, and store the reader's choices.
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
