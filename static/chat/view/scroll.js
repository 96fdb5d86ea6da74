/**
 * Where the reader is: at the end and following it, or somewhere above. The page never scrolls against the reader's wish.
 *
 * A reader's scrolling is distinguished from growth by its direction, not its time: growth never moves the box up, and the page's own moves are
 * known. So the first pixel up is detected, however the reader scrolls, and this is checked before the box is moved to its end. A movement
 * that begins too slowly to outrun the growth cannot be detected by the position, and counts from its first event.
 */

import { setShown, setText, slot } from "../lib/dom.js";
import { SENTENCES } from "../state/messages.js";
import { ROUNDING, watchHands } from "./scroll-hands.js";
import { createHold } from "./scroll-hold.js";

/** For how many milliseconds an end that has just moved away still counts as the end, for a reader who is scrolling to it. */
const CHASE = 250;
/** After how many frames at the end in a row a jump has arrived; and after how many it gives up. */
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
  /** The content or the box has another size: stay at the end, unless the reader is scrolling or has left it. */
  const sizes = new ResizeObserver(() => follower.resized() && stay());
  for (const box of [log, scroll]) sizes.observe(box);

  return {
    /**
     * Change the content's height, and stay at the end if it is followed; returns the function's result.
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
     * Change something above without moving what is being read.
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
    /** So many rows were added. */
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
  /** The box's position when it was checked or moved last. */
  let lastTop = scroll.scrollTop;
  const ends = createEnds(scroll);
  const landing = createLanding({ scroll, check, onMove: moved });
  const jumpButton = createJump({ scroll, jump, onJump: land });

  /** Detect the reader's scrolling since the last check. Returns whether the end is followed. */
  function check() {
    const { scrollTop } = scroll;
    const end = lastPlace(scroll);
    // A box whose content has become shorter scrolls by itself: that is not the reader.
    if (scrollTop < Math.min(lastTop, end) - ROUNDING) {
      // During a jump this is the rest of an earlier movement: what a hand does is detected by itself.
      if (!landing.isUnderWay) leave();
    } else if (!isFollowing && scrollTop > lastTop && scrollTop >= ends.nearest(end) - ROUNDING) follow();
    lastTop = scrollTop;
    return isFollowing;
  }

  /** A smooth movement that has begun, but is not visible yet, survives a relative scroll, but not an absolute one. */
  function toEnd() {
    if (fromEnd(scroll) > ROUNDING) scroll.scrollBy({ top: scroll.scrollHeight, behavior: "instant" });
    moved();
  }

  /** The page itself has moved the box, not the reader. */
  function moved() {
    lastTop = scroll.scrollTop;
  }

  /** Scroll to the end and stay there. */
  function land() {
    follow();
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

  // The first sign of scrolling comes before the box moves: how far away the end is, is known only after it.
  scroll.addEventListener("scroll", () => check() || jumpButton.show(), { passive: true });
  scroll.classList.add("following");

  return {
    check,
    toEnd,
    land,
    leave,
    get isFollowing() {
      return isFollowing;
    },
    moved,
    /** The content or the box has another size. Returns whether the end is followed. */
    resized() {
      ends.moved();
      if (!check()) jumpButton.contentGrew();
      return isFollowing;
    },
    /** @param {number} rows */
    addMissed(rows) {
      if (!isFollowing && rows) jumpButton.add(rows);
    },
  };
}

/**
 * A reader who selects text in the log reads there.
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
 * The largest scroll position of a box.
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
 * The positions of the box's end in the last moments: a reader who scrolls to the end may reach one that has just moved away.
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
    /** The nearest position that is the end, or was it a moment ago. @param {number} end */
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
 * A jump to the end takes some frames: rows that become visible get their real height only then, which moves the end.
 *
 * @param {object} from
 * @param {HTMLElement} from.scroll
 * @param {() => boolean} from.check
 * @param {() => void} from.onMove
 */
function createLanding({ scroll, check, onMove }) {
  /** @type {number|null} */
  let request = null;

  function stop() {
    if (request !== null) cancelAnimationFrame(request);
    request = null;
  }

  /** An absolute scroll also ends a smooth movement, as a key begins one. */
  function toEnd() {
    scroll.scrollTo({ top: scroll.scrollHeight, behavior: "instant" });
    onMove();
  }

  return {
    stop,
    get isUnderWay() {
      return request !== null;
    },
    start() {
      let steady = 0;
      let left = LANDING;
      const frame = () => {
        const isFollowing = check();
        steady = fromEnd(scroll) < 2 ? steady + 1 : 0;
        left -= 1;
        if (steady === 0 && isFollowing) toEnd();
        if (isFollowing && steady < STEADY && left > 0) request = requestAnimationFrame(frame);
        else stop();
      };
      stop();
      toEnd();
      request = requestAnimationFrame(frame);
    },
  };
}

/**
 * The button that leads to the end: shown if the reader has left it, once there is something new or it is more than a page away.
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
    contentGrew() {
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
