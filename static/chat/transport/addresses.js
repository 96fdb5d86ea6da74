/**
 * Addresses of this site, below whatever path it is served.
 */

const HOME = globalThis.document?.documentElement.dataset.home ?? "/";

/** The path of a page or a call, given from the site's own home on: `pathTo("sessions/")`. @param {string} path */
export const pathTo = (path) => `${HOME}${path}`;
