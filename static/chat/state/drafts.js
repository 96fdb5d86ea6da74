/**
 * The text that is being written, kept per user and session so that it survives reloads and closed tabs.
 *
 * Each tab has a draft of its own, and writes no other's. What a tab has left behind is taken over by the next page of that session; so
 * a text is never in two boxes at once, and never in none.
 */

import { newId } from "../lib/platform.js";

const KEY = "thinkaloud.draft";
const TAB = "thinkaloud.tab";
/** So long tabs that live have to say which drafts are theirs. */
const ANSWER_WITHIN = 250;

/** @import { Store } from "./types.js" */

/** @typedef {ReturnType<typeof createDraft>} Draft */

/**
 * @param {object} from
 * @param {Store} from.storage where drafts lie; null keeps them for this page only
 * @param {Store} from.tab where a tab knows itself again after a reload
 * @param {string} from.user
 * @param {string} from.session
 * @param {Pick<BroadcastChannel, "addEventListener"|"postMessage">|null} [from.channel] by which tabs hear of each other
 * @param {(text: string) => boolean} [from.onFound] given a text that was left behind; returns whether it was taken
 * @param {(text: string) => void} [from.onLost] given the text that another page has taken over
 * @param {(run: () => void, ms: number) => unknown} [from.later]
 */
export function createDraft({
  storage,
  tab,
  user,
  session,
  channel = globalThis.BroadcastChannel ? new BroadcastChannel("thinkaloud.drafts") : null,
  onFound = () => false,
  onLost = () => {},
  later = (run, ms) => setTimeout(run, ms),
}) {
  const prefix = `${KEY}.${user}.${session}`;
  /** This page among all, so that it does not take its own question for another's. */
  const me = newId();
  /** @type {Set<string>} */
  const others = new Set();
  let mine = "";
  /** What was written last, where it was kept. @type {string|null} */
  let last = null;
  let isNew = true;
  mine = known() ?? renew();

  /** @param {string} name */
  const keyOf = (name) => `${prefix}.${name}`;

  function known() {
    try {
      return tab?.getItem(TAB) ?? null;
    } catch {
      return null;
    }
  }

  function renew() {
    mine = newId();
    try {
      tab?.setItem(TAB, mine);
    } catch {
      // Known until the next reload, then.
    }
    return mine;
  }

  /** @param {string} key */
  function get(key) {
    try {
      return storage?.getItem(key) ?? "";
    } catch {
      return "";
    }
  }

  /**
   * Returns whether it would survive a reload.
   *
   * @param {string} key
   * @param {string} text
   */
  function set(key, text) {
    try {
      if (text && storage === null) return false;
      if (text) storage?.setItem(key, text);
      else storage?.removeItem(key);
      return true;
    } catch {
      return false;
    }
  }

  channel?.addEventListener("message", (event) => {
    const { data } = /** @type {MessageEvent} */ (event);
    if (data.prefix !== prefix || data.from === me) return;
    if (data.asks) channel.postMessage({ prefix, from: me, name: mine });
    else if (data.name !== mine) others.add(data.name);
    else if (isNew) {
      // A copied tab has copied the name too: who comes later takes another, and leaves the text to the first.
      const text = get(keyOf(mine));
      others.add(mine);
      renew();
      onLost(text);
    }
  });

  channel?.postMessage({ prefix, from: me, asks: true });
  later(() => {
    isNew = false;
    const left = leftBehind();
    if (left && onFound(left.text)) {
      write(left.text);
      set(left.key, "");
    }
  }, ANSWER_WITHIN);

  function leftBehind() {
    /** @type {string[]} */
    const keys = [];
    try {
      for (let index = 0; index < (storage?.length ?? 0); index += 1) keys.push(storage?.key(index) ?? "");
    } catch {
      return null;
    }
    const held = [mine, ...others].map(keyOf);
    // The key without a tab's name is from an earlier version.
    const key = keys.find((one) => (one === prefix || one.startsWith(`${prefix}.`)) && !held.includes(one));
    return key === undefined ? null : { key, text: get(key) };
  }

  /** While this page slept, another may have taken its text over. */
  function check() {
    if (!last || get(keyOf(mine)) === last || !storage) return;
    const text = last;
    last = null;
    onLost(text);
  }

  /** @param {string} text */
  function write(text) {
    const isKept = set(keyOf(mine), text);
    last = isKept ? text : null;
    return isKept;
  }

  return {
    read() {
      last = get(keyOf(mine)) || null;
      return last ?? "";
    },
    write,
    check,
    /** Whether a change of the storage is about this draft. @param {string|null} key */
    isAbout: (key) => key === keyOf(mine),
  };
}
