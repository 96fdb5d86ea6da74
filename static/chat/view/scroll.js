/**
 * Where the reader is: at the end and following it, or somewhere above. No scroll that the reader did not ask for.
 *
 * A reader's scrolling is known from growth by its direction, not its time: growth never moves the box up, and the page's own moves are
 * known. So whatever way one scrolls, the first pixel up is seen, and before the box is ever moved to its end it is checked whether there was one.
 * What cannot be seen by the place alone, because it begins too slowly to outrun the growth, is taken at its first sign.
 */

import { setShown, setText, slot } from "../lib/dom.js";
import { SENTENCES } from "../state/messages.js";
import { ROUNDING, watchHands } from "./scroll-hands.js";
import { createHold } from "./scroll-hold.js";

/** Milliseconds for which an end that has just moved on still counts as the end, for a hand that was on its way there. */
const CHASE = 250;
/** Frames at the end, one after another, after which a jump there has landed; and the most that it may take. */
const STEADY = 4;
const LANDING = 90;

/**
 * @param {object} from
 * @param {HTMLElement} from.scroll the box that is scrolled
 * @param {HTMLElement} from.log what grows in it
 * @param {HTMLElement|null} from.jump the button that leads to the end
 */
export function createScroll({ scroll, log, jump }) {
  let isPressed = false;
  const follower = createFollower({ scroll, jump });
  const hold = createHold({ scroll, log, onMove: follower.moved });

  function stay() {
    if (follower.isFollowing && !isPressed) follower.toEnd();
  }

  watchHands({
    scroll,
    onUp() {
      if (scroll.scrollTop > 0) follower.leave();
    },
    onGrab: hold.release,
    onPress(isDown) {
      isPressed = isDown;
      if (isDown) return;
      follower.check();
      stay();
    },
  });
  watchSelection(log, follower.leave);
  /** The content or the box has another size: stay at the end, unless a hand is at work or has left it. */
  const sizes = new ResizeObserver(() => follower.resized() && stay());
  for (const box of [log, scroll]) sizes.observe(box);

  return {
    /**
     * Do something that makes the content longer or shorter, and stay at the end where it is followed; returns what it returns.
     *
     * @template T
     * @param {() => T} change
     */
    keepEnd(change) {
      follower.check();
      const result = change();
      stay();
      return result;
    },
    /**
     * Change what lies above without moving what is being read.
     *
     * @param {() => void} change
     */
    keepPlace(change) {
      if (!follower.check()) {
        hold.during(change);
        return;
      }
      change();
      stay();
    },
    /** So many rows have come. */
    addMissed: follower.addMissed,
    toEnd: follower.land,
    leave: follower.leave,
  };
}

/**
 * Whether the end is followed, and what changes that.
 *
 * @param {object} from
 * @param {HTMLElement} from.scroll
 * @param {HTMLElement|null} from.jump
 */
function createFollower({ scroll, jump }) {
  let isFollowing = true;
  /** Where the box was when it was checked or moved last. */
  let lastTop = scroll.scrollTop;
  const ends = createEnds(scroll);
  const landing = createLanding({ scroll, check, toEnd });
  const jumpButton = createJump({ scroll, jump, onJump: land });

  /** See what a hand has done since the last check. Returns whether the end is followed. */
  function check() {
    const { scrollTop } = scroll;
    const end = lastPlace(scroll);
    // A box that has become shorter takes its place with it: that is no hand.
    if (scrollTop < Math.min(lastTop, end) - ROUNDING) leave();
    else if (!isFollowing && scrollTop > lastTop && scrollTop >= ends.nearest(end) - ROUNDING) follow();
    lastTop = scrollTop;
    return isFollowing;
  }

  /** A movement that has begun and is not to be seen yet, as a smooth one, outlives a step from where we are, and no place that is set. */
  function toEnd() {
    if (fromEnd(scroll) > ROUNDING) scroll.scrollBy({ top: scroll.scrollHeight, behavior: "instant" });
    lastTop = scroll.scrollTop;
  }

  /** To the end and to stay there. */
  function land() {
    landing.stop();
    follow();
    toEnd();
    landing.start();
  }

  function follow() {
    isFollowing = true;
    scroll.classList.add("following");
    jumpButton.hide();
  }

  function leave() {
    landing.stop();
    if (!isFollowing) return;
    isFollowing = false;
    ends.forget();
    scroll.classList.remove("following");
    jumpButton.show();
  }

  scroll.addEventListener("scroll", check, { passive: true });
  scroll.classList.add("following");

  return {
    check,
    toEnd,
    land,
    leave,
    get isFollowing() {
      return isFollowing;
    },
    /** The page itself has moved the box: that is no hand. */
    moved: () => (lastTop = scroll.scrollTop),
    /** The content or the box has another size. Returns whether the end is followed. */
    resized() {
      ends.moved();
      if (!check()) jumpButton.grown();
      return isFollowing;
    },
    /** @param {number} rows */
    addMissed(rows) {
      if (!isFollowing && rows) jumpButton.add(rows);
    },
  };
}

/**
 * Whoever chooses text in the log reads there.
 *
 * @param {HTMLElement} log
 * @param {() => void} onChoose
 */
function watchSelection(log, onChoose) {
  document.addEventListener("selectionchange", () => {
    const selection = document.getSelection();
    if (!selection || selection.isCollapsed) return;
    if (log.contains(selection.anchorNode) || log.contains(selection.focusNode)) onChoose();
  });
}

/**
 * The last place that a box can be scrolled to.
 *
 * @param {HTMLElement} scroll
 */
function lastPlace(scroll) {
  return scroll.scrollHeight - scroll.clientHeight;
}

/** @param {HTMLElement} scroll */
function fromEnd(scroll) {
  return lastPlace(scroll) - scroll.scrollTop;
}

/**
 * Where the box's end was in the last moments: a hand on its way there may reach an end that has just moved on.
 *
 * @param {HTMLElement} scroll
 */
function createEnds(scroll) {
  let known = 0;
  /** @type {{at: number, place: number}[]} */
  let recent = [];
  return {
    moved() {
      const end = lastPlace(scroll);
      if (end !== known) recent.push({ at: performance.now(), place: known });
      known = end;
    },
    /** The nearest place that is the end, or was it a moment ago. @param {number} end */
    nearest(end) {
      const now = performance.now();
      recent = recent.filter(({ at }) => now - at < CHASE);
      return Math.min(end, ...recent.map(({ place }) => place));
    },
    forget() {
      recent = [];
    },
  };
}

/**
 * A jump to the end takes some frames: rows that come into sight only now get their real height, and the end moves away.
 *
 * @param {object} from
 * @param {HTMLElement} from.scroll
 * @param {() => boolean} from.check
 * @param {() => void} from.toEnd
 */
function createLanding({ scroll, check, toEnd }) {
  /** @type {number|null} */
  let request = null;

  function stop() {
    if (request !== null) cancelAnimationFrame(request);
    request = null;
  }

  return {
    stop,
    start() {
      let steady = 0;
      let left = LANDING;
      const frame = () => {
        request = null;
        if (!check()) return;
        steady = fromEnd(scroll) < 2 ? steady + 1 : 0;
        left -= 1;
        if (steady >= STEADY || left === 0) return;
        if (steady === 0) toEnd();
        request = requestAnimationFrame(frame);
      };
      request = requestAnimationFrame(frame);
    },
  };
}

/**
 * The button that leads to the end: seen by whoever has left it, once there is something new or it is more than a page away.
 *
 * @param {object} from
 * @param {HTMLElement} from.scroll
 * @param {HTMLElement|null} from.jump
 * @param {() => void} from.onJump
 */
function createJump({ scroll, jump, onJump }) {
  let missed = 0;
  let hasGrown = false;
  jump?.addEventListener("click", onJump);

  function show() {
    if (jump === null) return;
    setShown(jump, missed > 0 || hasGrown || fromEnd(scroll) > scroll.clientHeight);
    setText(slot(jump, "new"), missed ? SENTENCES.newSteps(missed) : "");
  }

  return {
    show,
    /** @param {number} rows */
    add(rows) {
      missed += rows;
      show();
    },
    grown() {
      hasGrown ||= fromEnd(scroll) > ROUNDING;
      show();
    },
    hide() {
      missed = 0;
      hasGrown = false;
      setShown(jump, false);
    },
  };
}
