/**
 * Where the reader is: at the end and following it, or somewhere above. No scroll that the reader did not ask for.
 *
 * A hand is told from growth by what it does, not by when: growth never moves the box up, and what we do ourselves is known. So
 * whatever way one scrolls, the first pixel up is seen, and before the box is ever moved to its end it is looked whether there was one.
 * What cannot be seen by the place alone, because it begins too slowly to outrun the growth, is taken at its first sign.
 */

import { say, show, slot } from "../lib/dom.js";
import { SENTENCES } from "../state/humanize.js";

/** Pixels that rounding may cost: less than the least that a hand moves. */
const ROUNDING = 0.75;
/** Milliseconds for which an end that has just moved on still counts as the end, for a hand that was on its way there. */
const CHASE = 250;
/** Frames for which a place is held after a change above it. */
const FRAMES = 12;
/** Frames at the end, one after another, after which a jump there has landed; and the most that it may take. */
const STEADY = 4;
const LANDING = 90;
const KEYS_UP = ["PageUp", "ArrowUp", "Home"];
const LIFTED = ["touchend", "touchcancel"];
const FIELDS = "input, textarea, select, [contenteditable]";

export function createReading({ scroll, log, jump }) {
  let following = true;
  let missed = 0;
  let grew = false;
  /** Where the box was when we last looked or moved it. */
  let lastTop = scroll.scrollTop;
  /** Where its end is, as far as we know, and where it was in the last moments. */
  let knownEnd = 0;
  let ends = [];
  let pressed = false;
  let holding = null;
  let landing = null;

  const lastPlace = () => scroll.scrollHeight - scroll.clientHeight;
  const fromEnd = () => lastPlace() - scroll.scrollTop;

  /** See what a hand has done since we looked last. Returns whether the end is followed. */
  function look() {
    const { scrollTop } = scroll;
    const end = lastPlace();
    // A box that has become shorter takes its place with it: that is no hand.
    if (scrollTop < Math.min(lastTop, end) - ROUNDING) leave();
    else if (!following && scrollTop > lastTop && scrollTop >= reached(end) - ROUNDING) follow();
    lastTop = scrollTop;
    return following;
  }

  /** The nearest place that is the end, or was it a moment ago. */
  function reached(end) {
    const now = performance.now();
    ends = ends.filter(({ at }) => now - at < CHASE);
    return Math.min(end, ...ends.map(({ place }) => place));
  }

  /** A movement that has begun and is not to be seen yet, as a smooth one, outlives a step from where we are, and no place that is set. */
  function toEnd() {
    if (fromEnd() > ROUNDING) scroll.scrollBy({ top: scroll.scrollHeight, behavior: "instant" });
    lastTop = scroll.scrollTop;
  }

  /** The content or the box has another size: stay at the end, unless a hand is at work or has left it. */
  function resized() {
    const end = lastPlace();
    if (end !== knownEnd) ends.push({ at: performance.now(), place: knownEnd });
    knownEnd = end;
    if (look()) stay();
    else {
      grew ||= fromEnd() > ROUNDING;
      paint();
    }
  }

  function stay() {
    if (following && !pressed) toEnd();
  }

  /** To the end and to stay there: rows that come into sight only now get their real height, and the end moves away. */
  function land() {
    stopOurs();
    follow();
    toEnd();
    let steady = 0;
    let left = LANDING;
    const frame = () => {
      landing = null;
      if (!look()) return;
      steady = fromEnd() < 2 ? steady + 1 : 0;
      left -= 1;
      if (steady >= STEADY || left === 0) return;
      if (steady === 0) toEnd();
      landing = requestAnimationFrame(frame);
    };
    landing = requestAnimationFrame(frame);
  }

  function follow() {
    following = true;
    missed = 0;
    grew = false;
    scroll.classList.add("following");
    paint();
  }

  function leave() {
    stopOurs();
    if (!following) return;
    following = false;
    ends = [];
    scroll.classList.remove("following");
    paint();
  }

  /** The first sign of a hand that goes up, where there is an up. */
  function goesUp() {
    if (scroll.scrollTop > 0) leave();
  }

  function paint() {
    if (jump === null) return;
    show(jump, !following && (missed > 0 || grew || fromEnd() > scroll.clientHeight));
    say(slot(jump, "new"), missed ? SENTENCES.newSteps(missed) : "");
  }

  // ---- hands ----

  scroll.addEventListener("scroll", look, { passive: true });
  scroll.addEventListener(
    "wheel",
    (event) => {
      if (holding) release();
      const turnsBox = !event.ctrlKey && !event.shiftKey && event.deltaY < 0 && Math.abs(event.deltaY) >= Math.abs(event.deltaX);
      if (turnsBox && !takenInside(event.target)) goesUp();
    },
    { passive: true },
  );
  document.addEventListener("keydown", (event) => {
    const inBox = event.target === document.body || scroll.contains(event.target);
    if (!inBox || event.target.closest(FIELDS) || event.ctrlKey || event.altKey) return;
    const goes = KEYS_UP.includes(event.key) || (event.key === " " && event.shiftKey) || (event.metaKey && event.key === "ArrowUp");
    if (goes && !takenInside(event.target)) goesUp();
  });

  // A button or a finger that is down may be about to choose text or to drag: nothing moves under it.
  let touchedAt = null;
  scroll.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch") return;
    if (holding) release();
    // Of the scrollbar no browser tells when it is let go.
    if (event.target === scroll && event.offsetX > scroll.clientWidth) return;
    // With the middle button the box drifts up slower than it grows.
    if (event.button === 1 && !event.target.closest("a")) goesUp();
    pressed = event.button === 0;
  });
  for (const end of ["pointerup", "pointercancel", "dragend"]) document.addEventListener(end, released, true);
  addEventListener("blur", released);
  scroll.addEventListener(
    "touchstart",
    (event) => {
      if (holding) release();
      pressed = true;
      touchedAt = event.touches[0].clientY;
      // What is touched may be gone before it is let go.
      for (const end of LIFTED) event.target.addEventListener(end, released, { once: true, passive: true });
    },
    { passive: true },
  );
  scroll.addEventListener(
    "touchmove",
    (event) => {
      if (touchedAt !== null && event.touches[0].clientY > touchedAt + ROUNDING && !takenInside(event.target)) goesUp();
    },
    { passive: true },
  );
  function released(event) {
    if (event.pointerType === "touch" || !pressed || event.touches?.length) return;
    pressed = false;
    touchedAt = null;
    look();
    stay();
  }

  /** Whether a smaller box between the hand and ours takes the movement. */
  function takenInside(element) {
    for (let box = element; box && box !== scroll; box = box.parentElement) {
      if (box.scrollTop > 0 && box.scrollHeight > box.clientHeight && /auto|scroll/u.test(getComputedStyle(box).overflowY)) return true;
    }
    return false;
  }

  document.addEventListener("selectionchange", () => {
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && (log.contains(selection.anchorNode) || log.contains(selection.focusNode))) leave();
  });
  jump?.addEventListener("click", land);
  for (const box of [log, scroll]) new ResizeObserver(resized).observe(box);
  scroll.classList.add("following");

  // ---- holding a place ----

  function stopOurs() {
    cancelAnimationFrame(landing);
    landing = null;
  }

  /** Keep an element where it was, also over the frames in which what came above it gets its real height. */
  function hold(anchor, top, frames) {
    holding = anchor;
    if (!anchor?.isConnected) {
      release();
      return;
    }
    scroll.scrollTop += anchor.getBoundingClientRect().top - top;
    lastTop = scroll.scrollTop;
    if (frames > 0) requestAnimationFrame(() => holding === anchor && hold(anchor, top, frames - 1));
    else release();
  }

  function release() {
    holding = null;
    scroll.classList.remove("held");
  }

  return {
    /** Do something that makes the content longer or shorter, and stay at the end where it is followed; returns what it returns. */
    around(change) {
      look();
      const result = change();
      stay();
      return result;
    },
    /** So many rows have come. */
    came(added) {
      if (following || !added) return;
      missed += added;
      paint();
    },
    /** Change what lies above without moving what is being read. */
    steady(change) {
      if (look()) {
        change();
        stay();
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
    leave,
    get following() {
      return following;
    },
  };
}
