/**
 * The server's time, as far as this page can know it.
 */

/**
 * @param {number} now the server's time when it made the page, in seconds
 */
export function createServerClock(now) {
  // A time that arrives has been on its way for a while: the highest difference seen is the one with the least delay in it.
  let offset = now * 1000 - Date.now();
  return {
    /** The server's time now, in seconds. */
    now: () => (Date.now() + offset) / 1000,
    /**
     * The server has just sent its time.
     *
     * @param {number} timestamp in seconds
     */
    hear(timestamp) {
      offset = Math.max(offset, timestamp * 1000 - Date.now());
    },
  };
}
