/**
 * What is shown above the message box: the session's queue, and messages of this browser that are not accepted yet.
 */

import { clone, closestTo, setData, setText, slot, visible } from "../lib/dom.js";
import { SENTENCES } from "../state/messages.js";

/** @import { Page, State, UnsentMessage } from "../state/types.js" */

/**
 * The queue, the messages that the running run has not read, and the ids of all that were sent to one.
 * @typedef {Pick<State, "queue"|"steering"|"words">} Waits
 */

/**
 * A row; it has either a `run` or a `message`.
 *
 * @typedef {{
 *   key: string, text: string, label: string, user?: string|null, run?: string, word?: string, message?: string, error?: {message: string}, isFixed?: boolean,
 * }} Row
 */

/**
 * @param {object} from
 * @param {HTMLElement|null} from.place null on pages where nothing can be asked
 * @param {Page} from.page
 * @param {(run: string, text: string|null) => void} from.onRemoveQueued with the text where it is to be written anew
 * @param {(id: string, text: string|null) => void} from.onTakeBackWord likewise
 * @param {(message: string, text: string|null) => void} from.onRemoveUnsent likewise
 */
export function createWaiting({ place, page, onRemoveQueued, onTakeBackWord, onRemoveUnsent }) {
  place?.addEventListener("click", (event) => {
    const button = closestTo(event, "[data-action]");
    const row = closestTo(event, ".queued");
    if (!button || !row) return;
    const text = button.dataset.action === "edit-waiting" ? slot(row, "text").title : null;
    if (row.dataset.run) onRemoveQueued(row.dataset.run, text);
    else if (row.dataset.word) onTakeBackWord(row.dataset.word, text);
    else if (row.dataset.message) onRemoveUnsent(row.dataset.message, text);
  });

  /**
   * @param {HTMLElement} element
   * @param {Row} row
   */
  function fill(element, row) {
    element.dataset.key = row.key;
    setData(element, "run", row.run);
    setData(element, "word", row.word);
    setData(element, "message", row.message);
    element.classList.toggle("refusal", Boolean(row.error));
    element.classList.toggle("unsent", !row.run && !row.word && !row.error);
    setText(slot(element, "label"), row.user && row.user !== page.name ? `${row.label} · ${row.user}` : row.label);
    const text = slot(element, "text");
    setText(text, row.error ? `${row.error.message} — ${row.text}` : row.text);
    text.title = visible(row.text);
    const isFixed = Boolean(row.isFixed) || (Boolean(row.run ?? row.word) && !page.may.drive);
    for (const button of element.querySelectorAll("button")) button.hidden = isFixed;
    return element;
  }

  return {
    /**
     * @param {Waits} waits
     * @param {UnsentMessage[]} unsent
     * @param {boolean} isMoving whether the queue's first message can be expected to start
     */
    paint(waits, unsent, isMoving) {
      if (!place) return;
      const kept = new Map(/** @type {HTMLElement[]} */ ([...place.children]).map((element) => [element.dataset.key, element]));
      const wanted = rowsOf(waits, unsent, isMoving).map((row) => fill(kept.get(row.key) ?? clone("waiting"), row));
      // Unchanged rows are not touched: they may have the focus.
      for (const element of kept.values()) if (!wanted.includes(element)) element.remove();
      wanted.forEach((element, index) => {
        if (place.children[index] !== element) place.insertBefore(element, place.children[index] ?? null);
      });
    },
  };
}

/**
 * @param {Waits} waits
 * @param {UnsentMessage[]} unsent
 * @param {boolean} isMoving
 * @returns {Row[]}
 */
function rowsOf({ queue, steering, words }, unsent, isMoving) {
  const queued = new Set([...queue, ...steering].map((item) => item.client_message_id));
  return [
    ...steering.map((item) => ({
      key: item.client_message_id,
      text: item.message,
      label: SENTENCES.waitsForModel,
      user: item.user,
      word: item.client_message_id,
    })),
    ...queue.map((item, index) => ({
      key: item.run_id,
      text: item.message,
      label: words.includes(item.client_message_id) ? SENTENCES.tooLate : index || isMoving ? SENTENCES.next : SENTENCES.waitsForRoom,
      user: item.user,
      run: item.run_id,
    })),
    ...unsent
      .filter((item) => !queued.has(item.client_message_id))
      .map((item) => ({
        key: item.client_message_id,
        text: item.message,
        label: item.label,
        error: item.error,
        message: item.client_message_id,
        isFixed: item.isOnItsWay,
      })),
  ];
}
