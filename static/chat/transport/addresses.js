/**
 * Addresses of this site, which may be served below a path.
 */

const page = globalThis.document;
/** Set in the document, or in pages of which a template has only the head. @type {HTMLMetaElement|null|undefined} */
const named = page?.querySelector?.('meta[name="home"]');
const HOME = page?.documentElement.dataset.home ?? named?.content ?? "/";

/** The path of a page or a call, given relative to the site's home: `pathTo("sessions/")`. @param {string} path */
export const pathTo = (path) => `${HOME}${path}`;
