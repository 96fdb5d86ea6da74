/**
 * Addresses of this site, below whatever path it is served.
 */

const page = globalThis.document;
/** Written on the document, or by a template that has only its head. @type {HTMLMetaElement|null|undefined} */
const named = page?.querySelector?.('meta[name="home"]');
const HOME = page?.documentElement.dataset.home ?? named?.content ?? "/";

/** The path of a page or a call, given from the site's own home on: `pathTo("sessions/")`. @param {string} path */
export const pathTo = (path) => `${HOME}${path}`;
