/**
 * What keys mean where people write by an input method.
 */

/**
 * Whether an input method is composing, or has just ended with this very key: the key is its own then, and means nothing to the page.
 * Chromium and Firefox say so of the key itself; Safari ends the composition first, and marks the key that ended it by the number 229.
 *
 * @param {KeyboardEvent} event
 */
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}
