/**
 * Key events of people who type with an input method.
 */

/**
 * Whether a key belongs to an input method's composition, or has just ended it, so that the page ignores it. Chromium and Firefox mark the
 * key itself; Safari ends the composition first, and gives the key that ended it the code 229.
 *
 * @param {KeyboardEvent} event
 */
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}
