/**
 * Activity: this reader's typing and position in the log, sent to the others, and theirs, shown here for a few seconds.
 */

import { byId, setText } from "../lib/dom.js";
import { typingLine } from "../state/note-words.js";

/** @import { ActivityData } from "../protocol.js" */

/** Milliseconds between two messages, at least; a little more than the server's limit. */
const PAUSE = 1_100;
/** How long a report holds if it is not repeated, and how often it is repeated. */
const TYPING_HOLDS = 5_000;
const READING_HOLDS = 30_000;
const TYPING_AGAIN = 3_000;
const READING_AGAIN = 12_000;
/** How often the reader's position is determined, in milliseconds. */
const LOOK_EVERY = 3_000;

/**
 * @param {object} from
 * @param {string} from.me the reader's name
 * @param {(payload: object) => boolean} from.send returns false if nothing can be sent now
 * @param {boolean} from.drives whether others are told that this reader types
 * @param {boolean} from.showsReading whether others are told where this reader reads
 * @param {HTMLElement} from.scroll where the log scrolls
 * @param {HTMLTextAreaElement|null} from.box where messages are typed
 * @param {(reading: Map<string, number>) => void} from.onReading called when where others read has changed
 */
export function createActivity({ me, send, drives, showsReading, scroll, box, onReading }) {
  const line = byId("typing");
  /** Until when each of the others counts as typing. @type {Map<string, number>} */
  const typing = new Map();
  /** Where each of them reads, and until when that holds. @type {Map<string, {seq: number, until: number}>} */
  const reading = new Map();
  let sentAt = -Infinity;
  let sent = { typing: false, seq: 0 };
  let typingAt = -Infinity;
  let readingAt = -Infinity;

  /** The step in the middle of the visible part; 0 if there is none. */
  function seqInSight() {
    const { left, top, width, height } = scroll.getBoundingClientRect();
    const at = document.elementFromPoint(left + width / 2, top + height / 2)?.closest(".step[id], .answer[id]");
    return Number(at?.id.slice(1)) || 0;
  }

  /** Send what is new, or was sent too long ago. @param {boolean} [isLooking] whether the log is looked at, too */
  function sendActivity(isLooking = false) {
    const now = performance.now();
    if (now - sentAt < PAUSE || document.visibilityState !== "visible") return;
    const isTyping = drives && box !== null && box.value.trim() !== "" && now - typingAt < TYPING_HOLDS;
    const seq = isLooking && showsReading ? seqInSight() : sent.seq;
    const isTypingNews = isTyping !== sent.typing || (isTyping && now - sentAt > TYPING_AGAIN);
    const isReadingNews = seq > 0 && (seq !== sent.seq || now - readingAt > READING_AGAIN);
    if (!isTypingNews && !isReadingNews) return;
    if (!send({ ...(isTypingNews ? { typing: isTyping } : {}), ...(isReadingNews ? { seq } : {}) })) return;
    sentAt = now;
    if (isReadingNews) readingAt = now;
    sent = { typing: isTyping, seq };
  }

  function paint() {
    const now = performance.now();
    for (const [user, until] of typing) if (until < now) typing.delete(user);
    setText(line, typingLine([...typing.keys()]));
    const before = reading.size;
    for (const [user, { until }] of reading) if (until < now) reading.delete(user);
    if (reading.size !== before) changed();
  }

  function changed() {
    onReading(new Map([...reading].map(([user, { seq }]) => [user, seq])));
  }

  box?.addEventListener("input", () => {
    typingAt = performance.now();
    sendActivity();
  });
  setInterval(() => sendActivity(true), LOOK_EVERY);

  return {
    /** Called twice a second: forget what has expired. */
    tick() {
      paint();
      if (sent.typing) sendActivity();
    },
    /** @param {ActivityData} data */
    receive({ user, seq, typing: types }) {
      if (user === me) return;
      const now = performance.now();
      if (types === true) typing.set(user, now + TYPING_HOLDS);
      if (types === false) typing.delete(user);
      if (seq) {
        reading.set(user, { seq, until: now + READING_HOLDS });
        changed();
      }
      paint();
    },
  };
}
