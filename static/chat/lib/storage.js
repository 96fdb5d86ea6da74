/**
 * The browser's storage, if it has any: it may be missing, full, or be taken away at any time.
 */

/** The browser's local storage, or null if it is not available. @returns {Storage|null} */
export function localStore() {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null;
  }
}

/** The tab's session storage, or null if it is not available. @returns {Storage|null} */
export function tabStore() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}

/**
 * A channel to the browser's other tabs; null if it is not available.
 *
 * @param {string} name
 */
export function tabChannel(name) {
  try {
    return new globalThis.BroadcastChannel(name);
  } catch {
    return null;
  }
}

/**
 * The text under a key; null if there is none, or it cannot be read.
 *
 * @param {Storage|null} storage
 * @param {string} key
 */
export function readText(storage, key) {
  try {
    return storage?.getItem(key) ?? null;
  } catch {
    return null;
  }
}

/**
 * Store a text. Returns whether that worked.
 *
 * @param {Storage|null} storage
 * @param {string} key
 * @param {string} text
 */
export function writeText(storage, key, text) {
  try {
    storage?.setItem(key, text);
    return storage !== null;
  } catch {
    return false;
  }
}

/**
 * Remove a key. Failures are ignored.
 *
 * @param {Storage|null} storage
 * @param {string} key
 */
export function removeText(storage, key) {
  try {
    storage?.removeItem(key);
  } catch {
    // The storage was taken away, with its content.
  }
}

/**
 * All keys with a prefix; empty if they cannot be read.
 *
 * @param {Storage|null} storage
 * @param {string} prefix
 */
export function keysBelow(storage, prefix) {
  /** @type {string[]} */
  const keys = [];
  try {
    for (let index = 0; index < (storage?.length ?? 0); index += 1) {
      const key = storage?.key(index);
      if (key?.startsWith(prefix)) keys.push(key);
    }
  } catch {
    return [];
  }
  return keys;
}
