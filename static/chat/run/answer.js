/**
 * A run's answer: while it is written, and when it is complete.
 */

import { clone, closest, find, slot } from "../lib/dom.js";
import { createPacedText } from "./paced-text.js";
import { decorate, offerCopies } from "./prose.js";
import { setNumber } from "./row.js";

/** @import { Answer, Growth, Run } from "../state/types.js" */

/** @typedef {{element: HTMLElement, seq: number|null, prose: HTMLElement, text: ReturnType<typeof createPacedText>}} Shown */

/**
 * @param {object} from
 * @param {HTMLElement} from.place where the answer goes
 * @param {(change: () => void) => void} from.keepEnd see paced-text.js
 * @param {Run} from.run
 */
export function createAnswer({ place, keepEnd, run }) {
  /** What is shown; `seq` is null while it is being written. @type {Shown|null} */
  let shown = null;

  /** @type {HTMLElement|null} */
  const rendered = slot(place, "prose");
  if (rendered) shown = show(closest(rendered, "[data-item]"), run.answer?.seq ?? null);

  /**
   * @param {HTMLElement} element
   * @param {number|null} seq
   * @returns {Shown}
   */
  function show(element, seq) {
    const memory = {};
    const prose = slot(element, "prose");
    const text = createPacedText({
      prose,
      keepEnd,
      onBlocks(blocks) {
        decorate(blocks, memory);
        offerCopies(prose);
      },
    });
    return { element, seq, prose, text };
  }

  function open() {
    if (shown !== null) return shown;
    const element = clone("answer");
    find(element, ".mark-live").classList.remove("over");
    element.classList.add("arrive");
    place.replaceChildren(element);
    shown = show(element, null);
    shown.prose.classList.add("growing");
    return shown;
  }

  function close() {
    shown?.text.stop();
    shown?.element.remove();
    shown = null;
  }

  /** @param {Answer} answer */
  function finish({ seq, text, partial }) {
    const mine = open();
    mine.seq = seq;
    setNumber(mine.element, seq);
    find(mine.element, ".mark-live").classList.add("over");
    mine.prose.classList.remove("growing");
    if (partial) mine.prose.after(clone("stopped"));
    void mine.text.finish(text, (blocks) => decorate(blocks));
  }

  return {
    /**
     * Show the run's answer as far as it exists.
     *
     * @param {Run} next
     */
    paint(next) {
      if (next.answer !== null) {
        if (shown?.seq !== next.answer.seq) finish(next.answer);
      } else if (next.growth !== null && isAnswer(next.growth)) {
        // The first part of an answer that was cut off is a row now.
        if (shown !== null && shown.seq !== null) close();
        open().text.write(next.growth.text);
      } else if (shown !== null) {
        close();
      }
    },
  };
}

/**
 * Whether the draft is that of the answer.
 *
 * @param {Growth|null} growth
 * @returns {boolean}
 */
export function isAnswer(growth) {
  return growth !== null && (growth.type === "final_answer" || growth.type === "response");
}
