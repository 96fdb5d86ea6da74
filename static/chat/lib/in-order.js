/**
 * Acts that are done one after the other: of two requests that are on their way at once, the server may do the later one first.
 */

/**
 * A function that does an act once those before are done, and returns its result.
 *
 * @returns {<T>(act: () => Promise<T>) => Promise<T>}
 */
export function createOrder() {
  /** @type {Promise<unknown>} */
  let last = Promise.resolve();
  return (act) => {
    const done = last.then(act, act);
    last = done;
    return done;
  };
}
