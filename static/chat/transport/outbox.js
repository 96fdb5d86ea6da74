/**
 * What was asked and not yet accepted. Kept in this browser, per user and session, so that it survives reloads; the server
 * knows each message by its client_message_id, so that sending it again never asks twice.
 *
 * Each message lies under a key of its own: pages of one session write at the same time, and none overwrites what another has put in.
 */

import { newId } from "../lib/platform.js";
import { keysBelow, readText, removeText, writeText } from "../lib/storage.js";

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
  const kept = createKept(storage, `${KEY}.${user}.${session}`);
  /** On their way over the connection that is open now. @type {Set<string>} */
  const sent = new Set();

  return {
    /**
     * Put a message in, to be sent as soon as there is a way.
     *
     * @param {Partial<OutboxItem> & {message: string}} message
     * @returns {OutboxItem}
     */
    add({ message, files = [], agent_name, enable_reasoning = true, at = 0, way, client_message_id = makeId() }) {
      return kept.add({ client_message_id, message, files, agent_name, enable_reasoning, at, ...(way && { way }) });
    },
    /**
     * All that is not accepted, oldest first. What was refused has its `error`; what has ever been `tried` and has no answer may
     * have been taken already, so that nobody may have it back to write it anew.
     */
    items: kept.read,
    /** What is to be sent over a connection that has just opened: each message once per connection. */
    unsent() {
      return kept.read().filter((item) => !item.error && !sent.has(item.client_message_id));
    },
    /** @param {string} id */
    markSent(id) {
      sent.add(id);
      kept.change(id, { tried: true });
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
    /** Accepted, or taken back. */
    remove: kept.remove,
    /**
     * Refused by the server, in words.
     *
     * @param {string} id
     * @param {{code: string, message: string}} error
     */
    refuse(id, error) {
      kept.change(id, { error });
    },
    /** @param {string} id */
    has(id) {
      return kept.read().some((item) => item.client_message_id === id);
    },
    /** Whether what is in it would survive a reload. */
    get isSaved() {
      return kept.isSaved;
    },
  };
}

/**
 * Messages as they lie in the storage; and those that it did not take, for as long as the page lives.
 *
 * @param {Store} storage
 * @param {string} list the key that earlier versions kept all messages under, in one list
 */
function createKept(storage, list) {
  const prefix = `${list}.`;
  /** @type {Map<string, OutboxItem>} */
  const unsaved = new Map();

  /** @returns {OutboxItem[]} */
  function read() {
    const items = new Map(unsaved);
    for (const key of keysBelow(storage, prefix)) {
      const item = parsed(readText(storage, key));
      if (isMessage(item) && prefix + item.client_message_id === key) items.set(item.client_message_id, item);
    }
    return [...items.values()].sort((a, b) => a.place - b.place || (a.client_message_id < b.client_message_id ? -1 : 1));
  }

  /** @param {OutboxItem} item */
  function write(item) {
    const id = item.client_message_id;
    if (writeText(storage, prefix + id, JSON.stringify(item))) unsaved.delete(id);
    else unsaved.set(id, item);
    return item;
  }

  /** @param {Omit<OutboxItem, "place">} item */
  function add(item) {
    return write({ ...item, place: (read().at(-1)?.place ?? 0) + 1 });
  }

  const earlier = parsed(readText(storage, list));
  removeText(storage, list);
  for (const item of Array.isArray(earlier) ? earlier : []) if (isMessage(item)) add(item);

  return {
    read,
    add,
    /**
     * @param {string} id
     * @param {Partial<OutboxItem>} changes
     */
    change(id, changes) {
      const item = read().find((one) => one.client_message_id === id);
      if (item) write({ ...item, ...changes });
    },
    /** @param {string} id */
    remove(id) {
      unsaved.delete(id);
      removeText(storage, prefix + id);
    },
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
 * @param {string|null} text
 * @returns {unknown}
 */
function parsed(text) {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}
