/**
 * Which outlines and steps the reader has opened or closed: stored in this browser without an end, the latest thousand.
 */

import { readText, writeText } from "../lib/storage.js";

/** @import { Store } from "../state/types.js" */

/** @typedef {ReturnType<typeof createChoices>} Choices */

const MOST = 1_000;

/**
 * @param {object} from
 * @param {Store} from.storage
 * @param {string} from.user
 * @param {string} from.session
 */
export function createChoices({ storage, user, session }) {
  const key = `thinkaloud.open.${user}.${session}`;
  const kept = read();

  /** @returns {Record<string, boolean>} */
  function read() {
    try {
      return JSON.parse(readText(storage, key) ?? "{}");
    } catch {
      return {};
    }
  }

  /**
   * @param {string} name
   * @param {boolean} isOpen
   */
  function set(name, isOpen) {
    delete kept[name];
    kept[name] = isOpen;
    const names = Object.keys(kept);
    for (const old of names.slice(0, Math.max(0, names.length - MOST))) delete kept[old];
    writeText(storage, key, JSON.stringify(kept));
  }

  return {
    /**
     * Whether a run's outline should be open; undefined if the reader has not chosen.
     *
     * @param {string} run
     * @returns {boolean|undefined}
     */
    outline: (run) => kept[`r${run}`],
    /**
     * @param {string} run
     * @param {boolean} isOpen
     */
    setOutline: (run, isOpen) => set(`r${run}`, isOpen),
    /**
     * Whether the card of the call with this number should be open; undefined if the reader has not chosen.
     *
     * @param {number|string|null|undefined} seq
     * @returns {boolean|undefined}
     */
    step: (seq) => kept[`s${seq}`],
    /**
     * @param {number|string|undefined} seq
     * @param {boolean} isOpen
     */
    setStep: (seq, isOpen) => {
      if (seq) set(`s${seq}`, isOpen);
    },
  };
}
