/**
 * What was asked and not yet accepted. Kept in this browser, per user and session, so that it survives reloads; the server
 * knows each message by its client_message_id, so that sending it again never asks twice.
 *
 * Each message lies under a key of its own: pages of one session write at the same time, and none overwrites what another has put in.
 */

import { newId } from "../lib/platform.js";

const KEY = "thinkaloud.outbox";

/** @import { OutboxItem, Store } from "../state/types.js" */

/** @typedef {ReturnType<typeof createOutbox>} Outbox */

/**
 * @param {object} from
 * @param {Store} from.storage without one, or in a full one, messages are kept for this page only
 * @param {string} from.user
 * @param {string} from.session
 * @param {() => string} [from.makeId]
 */
export function createOutbox({ storage, user, session, makeId = newId }) {
  const list = `${KEY}.${user}.${session}`;
  const prefix = `${list}.`;
  /** On their way over the connection that is open now. @type {Set<string>} */
  const sent = new Set();
  /** What the storage did not take. @type {Map<string, OutboxItem>} */
  const unsaved = new Map();

  adoptList();

  /** Earlier versions kept all messages in one list. */
  function adoptList() {
    try {
      const text = storage?.getItem(list);
      if (!storage || !text) return;
      storage.removeItem(list);
      for (const item of JSON.parse(text)) if (isMessage(item)) write({ ...item, place: place() });
    } catch {
      // Nothing that could be read.
    }
  }

  /** @returns {OutboxItem[]} */
  function read() {
    const items = new Map(unsaved);
    try {
      for (let index = 0; index < (storage?.length ?? 0); index += 1) {
        const key = storage?.key(index);
        if (!key?.startsWith(prefix)) continue;
        const item = parsed(storage?.getItem(key));
        if (isMessage(item) && prefix + item.client_message_id === key) items.set(item.client_message_id, item);
      }
    } catch {
      // The storage was taken away: what this page holds itself is left.
    }
    return [...items.values()].sort((a, b) => a.place - b.place || (a.client_message_id < b.client_message_id ? -1 : 1));
  }

  function place() {
    return (read().at(-1)?.place ?? 0) + 1;
  }

  /** @param {OutboxItem} item */
  function write(item) {
    const id = item.client_message_id;
    try {
      if (storage === null) throw new Error("no storage");
      storage.setItem(prefix + id, JSON.stringify(item));
      unsaved.delete(id);
    } catch {
      unsaved.set(id, item);
    }
  }

  /**
   * @param {string} id
   * @param {Partial<OutboxItem>} changes
   */
  function change(id, changes) {
    const item = read().find((one) => one.client_message_id === id);
    if (item) write({ ...item, ...changes });
  }

  return {
    /**
     * Put a message in, to be sent as soon as there is a way.
     *
     * @param {Partial<OutboxItem> & {message: string}} message
     * @returns {OutboxItem}
     */
    add({ message, files = [], agent_name, enable_reasoning = true, at = 0, client_message_id = makeId() }) {
      const item = { client_message_id, message, files, agent_name, enable_reasoning, at, place: place() };
      write(item);
      return item;
    },
    /**
     * All that is not accepted, oldest first. What was refused carries its `error`; what has ever been `tried` and has no answer may
     * have been taken already, so that nobody may have it back to write it anew.
     */
    items: read,
    /** What is to be sent over a connection that has just opened: each message once per connection. */
    unsent() {
      return read().filter((item) => !item.error && !sent.has(item.client_message_id));
    },
    /** @param {string} id */
    markSent(id) {
      sent.add(id);
      change(id, { tried: true });
    },
    /** The connection broke: whatever has no answer yet goes out again. */
    forgetSent() {
      sent.clear();
    },
    /**
     * It did not go out, or the server could not take it just now: it goes out again, over the same connection too.
     *
     * @param {string} id
     */
    forgetSending(id) {
      sent.delete(id);
    },
    /**
     * Accepted, or taken back.
     *
     * @param {string} id
     */
    remove(id) {
      unsaved.delete(id);
      try {
        storage?.removeItem(prefix + id);
      } catch {
        // It was not kept there either.
      }
    },
    /**
     * Refused by the server, in words.
     *
     * @param {string} id
     * @param {{code: string, message: string}} error
     */
    refuse(id, error) {
      change(id, { error });
    },
    /** @param {string} id */
    has(id) {
      return read().some((item) => item.client_message_id === id);
    },
    /** Whether what is in it would survive a reload. */
    get isSaved() {
      return unsaved.size === 0;
    },
  };
}

/**
 * @param {any} item
 * @returns {item is OutboxItem}
 */
function isMessage(item) {
  return typeof item?.client_message_id === "string" && typeof item.message === "string";
}

/**
 * @param {string|null|undefined} text
 * @returns {unknown}
 */
function parsed(text) {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}

/**
 * This browser's storage, or null where it gives none.
 *
 * @returns {Store}
 */
export function localStore() {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null;
  }
}

/**
 * This tab's own storage, or null where there is none.
 *
 * @returns {Store}
 */
export function tabStore() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}
