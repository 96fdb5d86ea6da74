/**
 * Scrolling by the reader: signs of it before the box has moved, and when the box must not be moved.
 */

/** Pixels of rounding errors: less than the smallest movement by a reader. */
export const ROUNDING = 0.75;

const KEYS_UP = ["PageUp", "ArrowUp", "Home"];
const LIFTED = ["touchend", "touchcancel"];
const FIELDS = "input, textarea, select, [contenteditable]";

/**
 * @param {object} from
 * @param {HTMLElement} from.scroll the box that is scrolled
 * @param {() => void} from.onUp the first sign that the reader scrolls up
 * @param {() => void} from.onGrab the reader has started to scroll, in a direction that is not known yet
 * @param {(isPressed: boolean) => void} from.onPress a button or a finger is down, and may be about to choose text or to drag; or no more
 */
export function watchHands({ scroll, onUp, onGrab, onPress }) {
  let isPressed = false;
  /** Where the finger was put down, in pixels from the window's top. @type {number|null} */
  let touchedAt = null;

  function press() {
    isPressed = true;
    onPress(true);
  }

  /** @param {Event} event */
  function released(event) {
    if (event instanceof PointerEvent && event.pointerType === "touch") return;
    if (!isPressed || fingers(event) > 0) return;
    isPressed = false;
    touchedAt = null;
    onPress(false);
  }

  /** @param {WheelEvent} event */
  function wheeled(event) {
    onGrab();
    const turnsBox = !event.ctrlKey && !event.shiftKey && event.deltaY < 0 && Math.abs(event.deltaY) >= Math.abs(event.deltaX);
    if (turnsBox && !isTakenInside(scroll, event.target)) onUp();
  }

  /** @param {KeyboardEvent} event */
  function typed(event) {
    const { key, target, shiftKey, ctrlKey, altKey, metaKey } = event;
    if (!(target instanceof Element) || ctrlKey || altKey || target.closest(FIELDS)) return;
    if (target !== document.body && !scroll.contains(target)) return;
    const goesUp = KEYS_UP.includes(key) || (key === " " && shiftKey) || (metaKey && key === "ArrowUp");
    if (goesUp && !isTakenInside(scroll, target)) onUp();
  }

  /** @param {PointerEvent} event */
  function pointed(event) {
    if (event.pointerType === "touch") return;
    onGrab();
    // No browser reports when the scrollbar is released, and Firefox undoes the reader's movement if a script moves the page meanwhile.
    if (event.target === scroll && event.offsetX > scroll.clientWidth) {
      onUp();
      return;
    }
    // With the middle button the box may scroll up more slowly than it grows.
    if (event.button === 1 && event.target instanceof Element && !event.target.closest("a")) onUp();
    if (event.button === 0) press();
  }

  /** @param {TouchEvent} event */
  function touched(event) {
    onGrab();
    press();
    touchedAt = event.touches[0].clientY;
    // The touched element may be removed before the release.
    for (const end of LIFTED) event.target?.addEventListener(end, released, { once: true, passive: true });
  }

  /** @param {TouchEvent} event */
  function dragged(event) {
    if (touchedAt !== null && event.touches[0].clientY > touchedAt + ROUNDING && !isTakenInside(scroll, event.target)) onUp();
  }

  scroll.addEventListener("wheel", wheeled, { passive: true });
  document.addEventListener("keydown", typed);
  scroll.addEventListener("pointerdown", pointed);
  for (const end of ["pointerup", "pointercancel", "dragend"]) document.addEventListener(end, released, true);
  addEventListener("blur", released);
  scroll.addEventListener("touchstart", touched, { passive: true });
  scroll.addEventListener("touchmove", dragged, { passive: true });
}

/**
 * How many fingers are still down.
 *
 * @param {Event} event
 */
function fingers(event) {
  return "touches" in event ? /** @type {TouchEvent} */ (event).touches.length : 0;
}

/**
 * Whether a smaller scrolling box below the pointer takes the movement.
 *
 * @param {HTMLElement} scroll
 * @param {EventTarget|null} target
 */
function isTakenInside(scroll, target) {
  for (let box = target instanceof Element ? target : null; box && box !== scroll; box = box.parentElement) {
    const scrolls = box.scrollTop > 0 && box.scrollHeight > box.clientHeight;
    if (scrolls && /auto|scroll/u.test(getComputedStyle(box).overflowY)) return true;
  }
  return false;
}
