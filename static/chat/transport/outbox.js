/**
 * Messages that are not accepted yet. Stored in this browser, per user and session, so that they survive reloads; the server knows each
 * message by its client_message_id, so that it can be sent again without being asked twice.
 *
 * Each message has a key of its own: pages of one session write at the same time, without overwriting each other's.
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
  /** Sent over the current connection. @type {Set<string>} */
  const sent = new Set();

  return {
    /**
     * Add a message, to be sent as soon as possible.
     *
     * @param {Partial<OutboxItem> & {message: string}} message
     * @returns {OutboxItem}
     */
    add({ message, files = [], agent_name, enable_reasoning = true, at = 0, way, client_message_id = makeId() }) {
      return kept.add({ client_message_id, message, files, agent_name, enable_reasoning, at, ...(way && { way }) });
    },
    /**
     * All messages that are not accepted, oldest first. Refused ones have an `error`; those with `tried` and without an answer may have
     * been accepted, and so cannot be taken back for editing.
     */
    items: kept.read,
    /** The messages to send over a connection that has just opened: each once per connection. */
    unsent() {
      return kept.read().filter((item) => !item.error && !sent.has(item.client_message_id));
    },
    /** @param {string} id */
    markSent(id) {
      sent.add(id);
      kept.change(id, { tried: true });
    },
    /** The connection broke: messages without an answer are sent again. */
    forgetSent() {
      sent.clear();
    },
    /**
     * The message was not sent, or the server could not accept it: it is sent again, over the same connection too.
     *
     * @param {string} id
     */
    forgetSending(id) {
      sent.delete(id);
    },
    /** Accepted, or taken back. */
    remove: kept.remove,
    /**
     * The server has refused the message.
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
    /** Whether its messages would survive a reload. */
    get isSaved() {
      return kept.isSaved;
    },
  };
}

/**
 * Messages in the storage; and those that could not be stored, for as long as the page is open.
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
