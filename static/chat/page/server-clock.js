/**
 * The server's time, as exactly as this page can know it.
 */

/**
 * @param {number} now the server's time when it made the page, in seconds
 * @param {() => number} [ticks] milliseconds that nobody sets: the system's clock may be put right at any time
 */
export function createServerClock(now, ticks = () => performance.now()) {
  // A time that arrives was delayed on its way: the highest difference seen has the least delay. The page's clock may stand still while the
  // machine sleeps, which the next message corrects.
  let offset = now * 1000 - ticks();
  return {
    /** The server's time now, in seconds. */
    now: () => (ticks() + offset) / 1000,
    /**
     * The server has just sent its time.
     *
     * @param {number} timestamp in seconds
     */
    update(timestamp) {
      offset = Math.max(offset, timestamp * 1000 - ticks());
    },
  };
}
