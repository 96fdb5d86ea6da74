/**
 * What the browser keeps for a page, where it keeps anything: a storage may be missing, full, or taken away at any time.
 */

/** This browser's storage, or null where it gives none. @returns {Storage|null} */
export function localStore() {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null;
  }
}

/** This tab's own storage, or null where there is none. @returns {Storage|null} */
export function tabStore() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}

/**
 * By which this browser's tabs hear of each other; null where it lets them not. @returns {BroadcastChannel|null}
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
 * The text under a key; null where there is none, or none can be read.
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
 * Keep a text. Returns whether it is kept.
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
 * Forget what lies under a key. What cannot be reached is not kept either.
 *
 * @param {Storage|null} storage
 * @param {string} key
 */
export function removeText(storage, key) {
  try {
    storage?.removeItem(key);
  } catch {
    // The storage was taken away, and all in it.
  }
}

/**
 * All keys that begin so; none where they cannot be read.
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
