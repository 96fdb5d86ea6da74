/**
 * The text in the message box, stored per user and session so that it survives reloads and closed tabs.
 *
 * Each tab has its own draft, and writes no other tab's. The draft of a closed tab is taken over by the session's next page; so a text is
 * never in two boxes at once, and never lost.
 */

import { newId } from "../lib/platform.js";
import { keysBelow, readText, removeText, tabChannel, writeText } from "../lib/storage.js";

const KEY = "thinkaloud.draft";
const TAB = "thinkaloud.tab";
/** How long tabs have to answer which drafts are theirs, in milliseconds. */
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
  channel = tabChannel("thinkaloud.drafts"),
  onFound = () => false,
  onLost = () => {},
  later = (run, ms) => setTimeout(run, ms),
}) {
  const prefix = `${KEY}.${user}.${session}`;
  /** @param {string} name */
  const keyOf = (name) => `${prefix}.${name}`;
  /** @param {string} name */
  const textOf = (name) => readText(storage, keyOf(name)) ?? "";
  const names = createNames({ tab, channel, prefix, onCopied: (name) => onLost(textOf(name)) });
  /** The text that was stored last; null if it was not stored. @type {string|null} */
  let last = null;

  /** The key of a text that no page has in its box; undefined if there is none. */
  function leftBehind() {
    const held = [names.mine, ...names.others].map(keyOf);
    // The key without a tab's name is from an earlier version.
    return keysBelow(storage, prefix).find((key) => (key === prefix || key.startsWith(`${prefix}.`)) && !held.includes(key));
  }

  /**
   * Store the text. Returns whether it would survive a reload.
   *
   * @param {string} text
   */
  function write(text) {
    const key = keyOf(names.mine);
    const isKept = text === "" || writeText(storage, key, text);
    if (text === "") removeText(storage, key);
    last = isKept ? text : null;
    return isKept;
  }

  later(() => {
    names.settle();
    const key = leftBehind();
    const text = key === undefined ? null : readText(storage, key);
    if (key === undefined || !text || !onFound(text)) return;
    write(text);
    removeText(storage, key);
  }, ANSWER_WITHIN);

  return {
    read() {
      last = textOf(names.mine) || null;
      return last ?? "";
    },
    write,
    /** While this page was suspended, another may have taken over its text. */
    check() {
      if (!last || textOf(names.mine) === last || !storage) return;
      const text = last;
      last = null;
      onLost(text);
    },
    /** Whether a change of the storage is about this draft. @param {string|null} key */
    isAbout: (key) => key === keyOf(names.mine),
  };
}

/**
 * The name of this tab, and those of other open tabs: each stores its draft under its own name.
 *
 * @param {object} from
 * @param {Store} from.tab
 * @param {Pick<BroadcastChannel, "addEventListener"|"postMessage">|null} from.channel
 * @param {string} from.prefix tells the drafts of other sessions apart
 * @param {(name: string) => void} from.onCopied this tab is the copy of one that lives: given the name that both had
 */
function createNames({ tab, channel, prefix, onCopied }) {
  /** Identifies this page, so that it does not take its own question for another's. */
  const me = newId();
  /** @type {Set<string>} */
  const others = new Set();
  let isNew = true;
  let mine = readText(tab, TAB) ?? newName(tab);

  channel?.addEventListener("message", (event) => {
    const { data } = /** @type {MessageEvent} */ (event);
    if (data.prefix !== prefix || data.from === me) return;
    if (data.asks) channel.postMessage({ prefix, from: me, name: mine });
    else if (data.name !== mine) others.add(data.name);
    else if (isNew) {
      // A duplicated tab has the same name: the newer one takes another, and leaves the text to the first.
      others.add(mine);
      mine = newName(tab);
      onCopied(data.name);
    }
  });
  channel?.postMessage({ prefix, from: me, asks: true });

  return {
    get mine() {
      return mine;
    },
    others,
    /** All open tabs have answered by now. */
    settle() {
      isNew = false;
    },
  };
}

/**
 * A new name for a tab. If it cannot be stored, it lasts until the next reload.
 *
 * @param {Store} tab
 */
function newName(tab) {
  const name = newId();
  writeText(tab, TAB, name);
  return name;
}
