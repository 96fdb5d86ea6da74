/**
 * Where the reader is: at the tail and following it, or somewhere above. No scroll that the reader did not ask for.
 */

import { say, show, slot } from "./nodes.js";
import { SENTENCES } from "./words.js";

/** Pixels from the end within which one is at the end. */
const NEAR = 48;
/** Frames for which a place is held after a change above it. */
const FRAMES = 12;
/** Frames at the end, one after another, after which a jump there has landed; and the most that it may take. */
const STEADY = 4;
const LANDING = 90;

export function createReading({ scroll, log, jump }) {
  let following = true;
  let missed = 0;
  let ours = 0;
  let holding = null;
  let landing = null;

  const fromEnd = () => scroll.scrollHeight - scroll.clientHeight - scroll.scrollTop;

  function toEnd() {
    ours = performance.now();
    scroll.scrollTop = scroll.scrollHeight;
  }

  /** To the end and to stay there: rows that come into sight only now get their real height, and the end moves away. */
  function land() {
    follow();
    toEnd();
    cancelAnimationFrame(landing);
    let steady = 0;
    let left = LANDING;
    const frame = () => {
      steady = fromEnd() < 2 ? steady + 1 : 0;
      left -= 1;
      if (!following || steady >= STEADY || left === 0) {
        landing = null;
        return;
      }
      if (steady === 0) toEnd();
      landing = requestAnimationFrame(frame);
    };
    landing = requestAnimationFrame(frame);
  }

  function follow() {
    following = true;
    missed = 0;
    paint();
  }

  function leave() {
    if (!following || fromEnd() < 2) return;
    following = false;
    paint();
  }

  function paint() {
    if (jump === null) return;
    show(jump, !following && (missed > 0 || fromEnd() > scroll.clientHeight));
    say(slot(jump, "new"), missed ? SENTENCES.newSteps(missed) : "");
  }

  scroll.addEventListener(
    "scroll",
    () => {
      if (fromEnd() < NEAR) {
        if (!following) follow();
      } else if (landing === null && performance.now() - ours > 80) {
        following = false;
        paint();
      }
    },
    { passive: true },
  );
  scroll.addEventListener("wheel", (event) => event.deltaY < 0 && stopOurs(), { passive: true });
  for (const hand of ["touchmove", "pointerdown", "keydown"]) scroll.addEventListener(hand, stopOurs, { passive: true });
  log.addEventListener("focusin", leave);
  document.addEventListener("selectionchange", () => {
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && log.contains(selection.anchorNode)) {
      following = false;
      paint();
    }
  });
  jump?.addEventListener("click", land);
  new ResizeObserver(() => following && toEnd()).observe(log);
  new ResizeObserver(() => following && toEnd()).observe(scroll);

  function stopOurs() {
    ours = 0;
    cancelAnimationFrame(landing);
    landing = null;
    if (holding) release();
  }

  /** Keep an element where it was, also over the frames in which what came above it gets its real height. */
  function hold(anchor, top, frames) {
    holding = anchor;
    if (!anchor?.isConnected) return;
    const moved = anchor.getBoundingClientRect().top - top;
    if (moved) {
      ours = performance.now();
      scroll.scrollTop += moved;
    }
    if (frames > 0) requestAnimationFrame(() => holding === anchor && hold(anchor, top, frames - 1));
    else release();
  }

  function release() {
    holding = null;
    scroll.classList.remove("held");
  }

  return {
    /** After something was painted: stay at the end, or count what came. */
    painted(added) {
      if (following) {
        toEnd();
      } else if (added) {
        missed += added;
        paint();
      }
    },
    /** Change what lies above without moving what is being read. */
    steady(change) {
      if (following) {
        change();
        toEnd();
        return;
      }
      const top = scroll.getBoundingClientRect().top;
      const anchor = [...log.querySelectorAll(".q, .step, .answer, .run")].find((element) => {
        const box = element.getBoundingClientRect();
        return box.height > 0 && box.bottom > top + 1;
      });
      const before = anchor?.getBoundingClientRect().top;
      scroll.classList.add("held");
      change();
      hold(anchor, before, FRAMES);
    },
    toEnd: land,
    leave() {
      following = false;
      paint();
    },
    get following() {
      return following;
    },
  };
}
