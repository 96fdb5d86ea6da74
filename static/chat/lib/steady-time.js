/**
 * Time that only grows: a system's clock can be set back, and its ticks stand still while the machine sleeps.
 */

/** So much more by the clock than by its ticks, and the machine has slept, or the clock was set forward: that has passed, then. */
const SLEPT = 1_000;

/**
 * Tells milliseconds, of which only differences mean anything.
 *
 * @param {() => number} [clock] what the system says that the time is, in milliseconds
 * @param {() => number} [ticks] milliseconds that nobody sets
 */
export function createSteadyTime(clock = () => Date.now(), ticks = () => performance.now()) {
  let [atClock, atTicks] = [clock(), ticks()];
  let time = atClock;
  return () => {
    const [nowClock, nowTicks] = [clock(), ticks()];
    const [byClock, byTicks] = [nowClock - atClock, nowTicks - atTicks];
    time += byClock > byTicks + SLEPT ? byClock : byTicks;
    [atClock, atTicks] = [nowClock, nowTicks];
    return time;
  };
}

export const steadyNow = createSteadyTime();
