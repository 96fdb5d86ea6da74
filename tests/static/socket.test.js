import assert from "node:assert/strict";
import { test } from "node:test";

import { STATES, SocketTransport, TIMES } from "../../static/chat/transport/socket.js";
import { log, sessionFrame } from "./frames.js";

/** A clock that the test advances. */
function fakeClock() {
  let time = 0;
  let timers = [];
  return {
    now: () => time,
    later(run, ms) {
      const timer = { at: time + ms, run };
      timers.push(timer);
      return timer;
    },
    cancel(timer) {
      timers = timers.filter((other) => other !== timer);
    },
    pass(ms) {
      const end = time + ms;
      for (;;) {
        const next = timers.filter((timer) => timer.at <= end).sort((one, other) => one.at - other.at)[0];
        if (!next) break;
        timers = timers.filter((timer) => timer !== next);
        time = Math.max(time, next.at);
        next.run();
      }
      time = end;
    },
    get waiting() {
      return timers.length;
    },
  };
}

function setup({ online = true, random = () => 1 } = {}) {
  const clock = fakeClock();
  const made = [];
  const states = [];
  const frames = [];
  const network = { online };
  let cursor = { seq: 0, id: null };
  class FakeWebSocket {
    constructor(url) {
      this.url = url;
      this.readyState = 0;
      this.sent = [];
      made.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close() {
      this.readyState = 3;
    }
    // What a server does:
    accept() {
      this.readyState = 1;
      this.onopen?.();
    }
    receive(frame) {
      this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
    }
    end(code) {
      this.readyState = 3;
      this.onclose?.({ code });
    }
  }
  const socket = new SocketTransport({
    url: ({ seq, id }) => `/ws?last_seq=${seq}&last_id=${id ?? ""}`,
    cursor: () => cursor,
    onFrame(frame) {
      frames.push(frame);
      if (Number.isInteger(frame.seq)) cursor = { seq: frame.seq, id: frame.id };
    },
    onState: (state) => states.push(state),
    WebSocket: FakeWebSocket,
    clock,
    random,
    isOnline: () => network.online,
  });
  const last = () => made.at(-1);
  const join = (more) => {
    last().accept();
    last().receive(sessionFrame(more));
  };
  return { socket, clock, made, states, frames, network, last, join, words: () => states.map((state) => state.word) };
}

test("every state word comes from the list", () => {
  const { socket, states, join, last, clock, network } = setup();
  socket.open();
  join();
  last().end(1006);
  clock.pass(60_000);
  join();
  network.online = false;
  last().end(1006);
  socket.close();
  assert.ok(states.every((state) => STATES.includes(state.word)));
  assert.ok(Object.isFrozen(STATES));
});

test("connecting, then live once the session frame says that there is nothing to catch up", () => {
  const { socket, join, words, last } = setup();
  socket.open();
  assert.equal(last().url, "/ws?last_seq=0&last_id=");
  join();
  assert.deepEqual(words(), ["connecting", "live"]);
  assert.equal(socket.isOpen, true);
});

test("catching up is counted, then live", () => {
  const { socket, join, last, states, words } = setup();
  const l = log();
  socket.open();
  join({ last_seq: 3 });
  assert.deepEqual(states.at(-1), { word: "catching_up", from: 0, done: 0, total: 3 });
  last().receive(l.start());
  assert.equal(states.at(-1).done, 1);
  last().receive(l.step("start"));
  last().receive(l.complete());
  assert.equal(words().at(-1), "live");
});

test("a lost connection is reopened with last_seq", () => {
  const { socket, join, last, made, clock, words } = setup();
  const l = log();
  socket.open();
  join({ last_seq: 1 });
  last().receive(l.start());
  last().end(1006);
  assert.equal(words().at(-1), "waiting");
  clock.pass(TIMES.firstRetry);
  assert.equal(made.length, 2);
  assert.equal(last().url, "/ws?last_seq=1&last_id=event-1");
});

test("the backoff doubles with jitter up to 15 s, and is reset after a minute without errors", () => {
  const waits = [];
  const { socket, clock, last, states, join } = setup({ random: () => 1 });
  socket.open();
  join();
  for (let round = 0; round < 9; round += 1) {
    last().end(1006);
    const { until } = states.at(-1);
    waits.push(until - clock.now());
    clock.pass(until - clock.now());
  }
  assert.deepEqual(waits, [300, 600, 1200, 2400, 4800, 9600, 15_000, 15_000, 15_000]);
  join();
  clock.pass(TIMES.ping);
  last().receive({ type: "pong", data: { last_seq: 0, timestamp: 1 } });
  clock.pass(TIMES.ping);
  last().receive({ type: "pong", data: { last_seq: 0, timestamp: 1 } });
  clock.pass(TIMES.ping);
  last().receive({ type: "pong", data: { last_seq: 0, timestamp: 1 } });
  last().end(1006);
  assert.equal(states.at(-1).until - clock.now(), 300);
});

test("jitter never lets two pages wait equally long, nor less than half of the time", () => {
  const wait = (value) => {
    const { socket, clock, join, last, states } = setup({ random: () => value });
    socket.open();
    join();
    last().end(1006);
    return states.at(-1).until - clock.now();
  };
  assert.equal(wait(0), 150);
  assert.equal(wait(0.5), 225);
});

test("a restarting server is connected to again at once", () => {
  const { socket, clock, join, last, states } = setup({ random: () => 0.2 });
  socket.open();
  join();
  last().end(4012);
  assert.ok(states.at(-1).until - clock.now() <= 300 * 0.2);
});

for (const [code, word] of [
  [4401, "logged_out"],
  [4403, "gone"],
  [4404, "gone"],
]) {
  test(`close code ${code} ends in ${word} and no further try`, () => {
    const { socket, clock, join, last, made, states } = setup();
    socket.open();
    join();
    last().end(code);
    assert.equal(states.at(-1).word, word);
    clock.pass(3_600_000);
    assert.equal(made.length, 1);
  });
}

test("after too many connections the next try comes late", () => {
  const { socket, clock, join, last, states } = setup();
  socket.open();
  join();
  last().end(4429);
  assert.ok(states.at(-1).until - clock.now() >= 7_500);
  assert.equal(states.at(-1).code, 4429);
});

test("it pings every 20 s and closes a connection that is silent for 30 s", () => {
  const { socket, clock, join, last, made, words } = setup();
  socket.open();
  join();
  const first = last();
  clock.pass(TIMES.ping);
  assert.deepEqual(first.sent, [{ type: "ping", payload: {} }]);
  clock.pass(TIMES.silence - TIMES.ping - TIMES.beat);
  assert.equal(words().at(-1), "live");
  clock.pass(TIMES.beat);
  assert.equal(words().at(-1), "waiting");
  clock.pass(1_000);
  assert.equal(made.length, 2);
});

test("a timer that the browser has delayed does not close a live connection", () => {
  const { socket, clock, join, last, words } = setup();
  socket.open();
  join();
  // A hidden tab: its timers run once a minute.
  const held = clock.later;
  clock.later = (run, ms) => held(run, Math.max(ms, 60_000));
  clock.pass(1_000);
  clock.pass(60_000);
  assert.equal(last().sent.filter((frame) => frame.type === "ping").length, 1);
  last().receive({ type: "pong", data: { last_seq: 0, timestamp: 1 } });
  clock.pass(60_000);
  assert.equal(words().at(-1), "live");
});

test("acks follow 250 ms after a stored frame, and at least every 100 of them", () => {
  const { socket, clock, join, last } = setup();
  const l = log();
  socket.open();
  join({ last_seq: 251 });
  last().receive(l.start());
  assert.equal(last().sent.length, 0);
  clock.pass(TIMES.ackAfter);
  assert.deepEqual(last().sent, [{ type: "ack", payload: { seq: 1 } }]);
  for (let number = 0; number < 250; number += 1) last().receive(l.step("start"));
  assert.deepEqual(
    last().sent.map((frame) => frame.payload.seq),
    [1, 101, 201],
  );
  clock.pass(TIMES.ackAfter);
  assert.equal(last().sent.at(-1).payload.seq, 251);
  const before = last().sent.length;
  last().receive(l.delta({ text: "growth is not acknowledged" }));
  clock.pass(TIMES.ackAfter);
  assert.equal(last().sent.length, before);
});

test("offline is shown, and no connection is tried; coming back connects at once", () => {
  const { socket, clock, join, last, made, network, words } = setup();
  socket.open();
  join();
  network.online = false;
  socket.offline();
  const count = words().length;
  assert.equal(words().at(-1), "offline");
  for (let round = 0; round < 40; round += 1) {
    clock.pass(TIMES.longestRetry);
    last().end(1006);
  }
  assert.equal(words().length, count);
  assert.ok(made.length < 50);
  network.online = true;
  const before = made.length;
  socket.nudge();
  assert.equal(made.length, before + 1);
});

for (const begins of ["open", "offline"]) {
  test(`a browser that is wrong about being offline connects (${begins})`, () => {
    const { socket, clock, join, words } = setup({ online: false });
    socket[begins]();
    clock.pass(TIMES.firstRetry);
    join();
    assert.deepEqual(words(), ["offline", "live"]);
    assert.equal(socket.isOpen, true);
  });
}

test("errors while offline do not count as a network that blocks sockets", () => {
  const { socket, clock, last, network, words } = setup({ online: false });
  socket.open();
  for (let round = 0; round < 10; round += 1) {
    clock.pass(TIMES.longestRetry);
    last().end(1006);
  }
  network.online = true;
  socket.nudge();
  last().end(1006);
  assert.equal(words().at(-1), "waiting");
});

test("showing the page again ends the waiting, or pings a silent connection", () => {
  const { socket, clock, join, last, made } = setup();
  socket.open();
  join();
  clock.pass(6_000);
  socket.nudge();
  assert.equal(last().sent.at(-1).type, "ping");
  last().end(1006);
  for (let round = 0; round < 6; round += 1) {
    clock.pass(15_000);
    last().end(1006);
  }
  const tries = made.length;
  socket.nudge();
  assert.equal(made.length, tries + 1);
});

test("after three tries a network that never opens a socket counts as blocking it", () => {
  const { socket, clock, last, made, words } = setup();
  socket.open();
  for (let round = 0; round < 3; round += 1) {
    last().end(1006);
    clock.pass(2_000);
  }
  assert.equal(words().at(-1), "blocked");
  assert.equal(made.length, 3);
  socket.again();
  assert.equal(made.length, 4);
});

test("a network that has opened a socket once never counts as blocking it", () => {
  const { socket, clock, join, last, words } = setup();
  socket.open();
  join();
  for (let round = 0; round < 10; round += 1) {
    last().end(1006);
    clock.pass(15_000);
  }
  assert.ok(!words().includes("blocked"));
});

test("a connection that hangs while opening is given up after ten seconds", () => {
  const { socket, clock, made, words } = setup();
  socket.open();
  clock.pass(TIMES.open);
  assert.equal(words().at(-1), "waiting");
  clock.pass(TIMES.firstRetry);
  assert.equal(made.length, 2);
});

test("frames of a connection that was given up are ignored", () => {
  const { socket, clock, join, made, frames } = setup();
  socket.open();
  join();
  const old = made[0];
  const onMessage = old.onmessage;
  old.end(1006);
  clock.pass(300);
  join();
  const before = frames.length;
  onMessage?.({ data: JSON.stringify({ type: "queue", data: [] }) });
  assert.equal(frames.length, before);
});

test("nothing is sent over a closed connection, and closing leaves no timer behind", () => {
  const { socket, clock, join, words } = setup();
  assert.equal(socket.send("chat", {}), false);
  socket.open();
  assert.equal(socket.send("chat", {}), false);
  join();
  assert.equal(socket.send("chat", {}), true);
  socket.close();
  assert.equal(words().at(-1), "closed");
  assert.equal(clock.waiting, 0);
});

test("resume asks for everything after last_seq", () => {
  const { socket, join, last } = setup();
  socket.open();
  join({ last_seq: 1 });
  last().receive(log().start());
  socket.resume();
  assert.deepEqual(last().sent.at(-1), { type: "resume", payload: { last_seq: 1, last_id: "event-1" } });
});

test("a frame that is no JSON is ignored", () => {
  const { socket, join, last, words } = setup();
  socket.open();
  join();
  last().receive("{");
  assert.equal(words().at(-1), "live");
});
