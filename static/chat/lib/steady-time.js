/**
 * A clock that never goes back: a system's clock can be set back, and its monotonic clock stands still while the machine sleeps.
 */

/**
 * If the clock has advanced this much more than the monotonic clock, in milliseconds, the machine has slept or the clock was set forward:
 * then that time counts.
 */
const SLEPT = 1_000;

/**
 * Returns milliseconds, of which only differences have a meaning.
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
