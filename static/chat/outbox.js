/**
 * What was asked and not yet accepted. Kept in this browser, per user and session, so that it survives reloads; the server
 * knows each message by its client_message_id, so that sending it again never asks twice.
 */

import { newId } from "./platform.js";

const KEY = "thinkaloud.outbox";

/**
 * @param {object} from
 * @param {Storage|null} from.storage null or full storage keeps messages for this page only
 */
export function createOutbox({ storage, user, session, makeId = newId }) {
  const key = `${KEY}.${user}.${session}`;
  const sent = new Set();
  let kept = null;
  let saved = true;

  function read() {
    if (kept !== null) return kept;
    try {
      const items = JSON.parse(storage?.getItem(key) ?? "[]");
      return Array.isArray(items) ? items.filter((item) => typeof item?.client_message_id === "string") : [];
    } catch {
      return [];
    }
  }

  function write(items) {
    try {
      if (storage === null) throw new Error("no storage");
      if (items.length) storage.setItem(key, JSON.stringify(items));
      else storage.removeItem(key);
      kept = null;
      saved = true;
    } catch {
      kept = items;
      saved = false;
    }
  }

  return {
    /** Put a message in, to be sent as soon as there is a way. */
    add({ message, agent_name, enable_reasoning = true, at = 0 }) {
      const item = { client_message_id: makeId(), message, agent_name, enable_reasoning, at };
      write([...read(), item]);
      return item;
    },
    /** All that is not accepted, oldest first; what was refused carries its `error`. */
    items: read,
    /** What is to be sent over a line that has just opened: each message once per line. */
    unsent() {
      return read().filter((item) => !item.error && !sent.has(item.client_message_id));
    },
    markSent(id) {
      sent.add(id);
    },
    /** The line broke: whatever has no answer yet goes out again. */
    forgetSent() {
      sent.clear();
    },
    /** The server could not take it just now: it goes out again, on the same line too. */
    forgetSending(id) {
      sent.delete(id);
    },
    /** Accepted, or taken back. */
    remove(id) {
      const items = read();
      if (items.some((item) => item.client_message_id === id)) {
        write(items.filter((item) => item.client_message_id !== id));
      }
    },
    /** Refused by the server, in words. */
    refuse(id, error) {
      write(read().map((item) => (item.client_message_id === id ? { ...item, error } : item)));
    },
    has(id) {
      return read().some((item) => item.client_message_id === id);
    },
    /** Whether what is in it would survive a reload. */
    get isSaved() {
      return saved;
    },
  };
}

/** The text that is being written, per user and session. */
export function createDraft({ storage, user, session }) {
  const key = `thinkaloud.draft.${user}.${session}`;
  return {
    read() {
      try {
        return storage?.getItem(key) ?? "";
      } catch {
        return "";
      }
    },
    write(text) {
      try {
        if (text) storage?.setItem(key, text);
        else storage?.removeItem(key);
      } catch {
        // A full or forbidden storage costs the draft on reload, nothing else.
      }
    },
  };
}

/** This browser's storage, or null where it gives none. */
export function localStore() {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null;
  }
}
