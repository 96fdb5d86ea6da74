import assert from "node:assert/strict";
import { test } from "node:test";

import { createSteadyTime } from "../../static/chat/lib/steady-time.js";
import { createServerClock } from "../../static/chat/page/server-clock.js";

const HOUR = 3_600_000;

/** A machine: its clock and its ticks. */
function machine() {
  const at = { clock: 1_800_000_000_000, ticks: 50 };
  return {
    clock: () => at.clock,
    ticks: () => at.ticks,
    pass: (ms) => [(at.clock += ms), (at.ticks += ms)],
    sleep: (ms) => (at.clock += ms),
    set: (ms) => (at.clock += ms),
  };
}

/** What happens to the machine, and the least time that has passed then. A further case is a line. */
const PASSED = {
  "time passes": [(its) => its.pass(5_000), 5_000, 5_000],
  "in small pieces": [(its, now) => Array.from({ length: 5_000 }, () => [its.pass(1), now()]), 5_000, 5_000],
  "its clock is set back": [(its) => [its.pass(1_000), its.set(-HOUR), its.pass(1_000)], 2_000, 2_000],
  "set back again and again": [(its, now) => [1, 2, 3].map(() => [its.set(-HOUR), now(), its.pass(1_000), now()]), 3_000, 3_000],
  "its clock is put right by a little": [(its) => [its.set(-300), its.pass(1_000), its.set(600)], 1_000, 1_000],
  "it sleeps": [(its) => [its.pass(1_000), its.sleep(HOUR)], HOUR + 1_000, HOUR + 1_000],
};

for (const [what, [happens, least, most]] of Object.entries(PASSED)) {
  test(`time only grows: ${what}`, () => {
    const its = machine();
    const now = createSteadyTime(its.clock, its.ticks);
    const before = now();
    happens(its, now);
    const passed = now() - before;
    assert.ok(passed >= least && passed <= most, `${passed} ms have passed`);
  });
}

test("the server's time is its own, however the reader's clock is set", () => {
  for (const by of [HOUR, -HOUR, 25 * HOUR, -400 * 24 * HOUR]) {
    const its = machine();
    const server = createServerClock(1_000, its.ticks);
    its.pass(10_000);
    its.set(by);
    server.update(1_009.9);
    assert.ok(Math.abs(server.now() - 1_010) < 0.001, `${server.now()}`);
    its.pass(5_000);
    assert.ok(Math.abs(server.now() - 1_015) < 0.001, `${server.now()}`);
  }
});

test("after a sleep the next frame of the server corrects it", () => {
  const its = machine();
  const server = createServerClock(1_000, its.ticks);
  its.pass(1_000);
  its.sleep(HOUR);
  server.update(1_001 + HOUR / 1000);
  assert.equal(server.now(), 1_001 + HOUR / 1000);
});

test("a frame that was delayed does not set it back", () => {
  const its = machine();
  const server = createServerClock(1_000, its.ticks);
  its.pass(60_000);
  server.update(1_030);
  assert.equal(server.now(), 1_060);
});
