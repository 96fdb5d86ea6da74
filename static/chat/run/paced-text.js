/**
 * A growing text in an element, painted as often as the page can afford.
 */

import { load, loaded } from "../lib/markdown.js";
import { createWriter, growPlain } from "./growing.js";

/** Milliseconds between two paints of a growing text. */
const PAINT_EVERY = 100;
/** Painting takes at most one part in this many of the time, however long the text is. */
const COST_SHARE = 5;
/** The longest pause between paints, in milliseconds: otherwise one slow paint would stop the text for long. */
const LONGEST_PAUSE = 1_000;

// A growing text is formatted from the first word on, if the libraries are loaded by then.
void load();

/**
 * @param {object} from
 * @param {HTMLElement} from.prose where the text is shown
 * @param {(change: () => void) => void} from.keepEnd what changes the page's height later, by itself, is done within it
 * @param {(blocks: ChildNode[]) => void} from.onBlocks given all finished blocks after each painting that is formatted; may take some out
 */
export function createPacedText({ prose, keepEnd, onBlocks }) {
  let text = "";
  /** @type {ReturnType<typeof createWriter>|null} */
  let writer = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  let paintedAt = 0;
  let cost = 0;
  let isOver = false;

  /** @param {NonNullable<ReturnType<typeof loaded>>} renderer */
  function formatted(renderer) {
    if (writer === null) {
      prose.classList.remove("plain");
      prose.replaceChildren();
      writer = createWriter(prose, renderer);
    }
    return writer;
  }

  function paint() {
    paintedAt = performance.now();
    const renderer = loaded();
    if (renderer === null) {
      prose.classList.add("plain");
      growPlain(prose, text);
      return;
    }
    onBlocks(formatted(renderer).write(text));
    cost = performance.now() - paintedAt;
  }

  return {
    prose,
    /**
     * Set the text; it is painted now or soon.
     *
     * @param {string} next
     */
    write(next) {
      text = next;
      if (timer !== undefined) return;
      const pause = Math.min(LONGEST_PAUSE, Math.max(PAINT_EVERY, cost * COST_SHARE));
      const wait = Math.max(0, paintedAt + pause - performance.now());
      if (wait === 0) {
        paint();
        return;
      }
      timer = setTimeout(() => {
        timer = undefined;
        if (!isOver) keepEnd(paint);
      }, wait);
    },
    /** Stop showing the text. */
    stop() {
      isOver = true;
      clearTimeout(timer);
    },
    /**
     * The text is complete. Without the libraries it stays unformatted.
     *
     * @param {string} whole
     * @param {(blocks: ChildNode[]) => void} onFinished given all blocks, once they are formatted
     */
    async finish(whole, onFinished) {
      this.stop();
      if (loaded() === null) growPlain(prose, whole);
      const renderer = loaded() ?? (await load());
      if (renderer === null) {
        prose.classList.add("plain");
        return;
      }
      const last = formatted(renderer);
      keepEnd(() => onFinished(last.finish(whole)));
    },
  };
}
