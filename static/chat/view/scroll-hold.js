/**
 * Holds a position: what is being read stays in place while something above it changes.
 */

/** For how many frames a position is held after a change above it: rows that become visible get their real height only then. */
const FRAMES = 12;
const PLACES = ".q, .step, .answer, .run";

/**
 * @param {object} from
 * @param {HTMLElement} from.scroll
 * @param {HTMLElement} from.log
 * @param {() => void} from.onMove called after each time the box was moved
 */
export function createHold({ scroll, log, onMove }) {
  /** @type {Element|null} */
  let held = null;

  /**
   * @param {Element|undefined} anchor
   * @param {number} top where the anchor was, in pixels from the window's top
   * @param {number} frames
   */
  function hold(anchor, top, frames) {
    held = anchor ?? null;
    if (!anchor?.isConnected) {
      release();
      return;
    }
    scroll.scrollTop += anchor.getBoundingClientRect().top - top;
    onMove();
    if (frames > 0) requestAnimationFrame(() => held === anchor && hold(anchor, top, frames - 1));
    else release();
  }

  function release() {
    held = null;
    scroll.classList.remove("held");
  }

  return {
    /**
     * Change something above without moving what is being read.
     *
     * @param {() => void} change
     */
    during(change) {
      const top = scroll.getBoundingClientRect().top;
      const anchor = [...log.querySelectorAll(PLACES)].find((element) => {
        const box = element.getBoundingClientRect();
        return box.height > 0 && box.bottom > top + 1;
      });
      const before = anchor?.getBoundingClientRect().top ?? 0;
      scroll.classList.add("held");
      change();
      hold(anchor, before, FRAMES);
    },
    /** The reader scrolls. */
    release() {
      if (held) release();
    },
  };
}
