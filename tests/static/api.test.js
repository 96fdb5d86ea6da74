import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, createApi } from "../../static/chat/transport/api.js";
import { POLL, PollingTransport } from "../../static/chat/transport/polling.js";
import { log } from "./frames.js";

/** A server that answers from a list of stored frames. */
function server() {
  const l = log();
  const calls = [];
  const stored = [];
  let run = null;
  let broken = null;
  const api = {
    async events(session, after, limit = 200) {
      calls.push(["events", after]);
      if (broken) throw broken;
      const events = stored.filter((frame) => frame.seq > after).slice(0, limit);
      return { events, last_seq: stored.length, run, queue: [], children: [], children_growth: [] };
    },
    async send(session, payload) {
      calls.push(["send", payload]);
      if (broken) throw broken;
      if (payload.message === "too long") throw new ApiError(413, "too_large", "Too long.");
      stored.push(l.start({ message: payload.message }));
      run = { id: l.run, status: "running", started_at: 1000 };
      return { run_id: l.run, queued: 0 };
    },
    async cancel(id) {
      calls.push(["cancel", id]);
      stored.push(l.complete({ status: "cancelled" }));
      run = null;
    },
    async continueRun(id, payload) {
      calls.push(["continueRun", id, payload]);
      return { run_id: "next" };
    },
  };
  return { api, l, calls, stored, break: (error) => (broken = error) };
}

function setup(given = server(), network = { online: true }) {
  const frames = [];
  const states = [];
  const timers = [];
  let seq = 0;
  const polling = new PollingTransport({
    api: given.api,
    session: "s",
    page: () => ({ title: "T", agent: "researcher", role: "owner" }),
    cursor: () => ({ seq, id: null }),
    onFrame(frame) {
      frames.push(frame);
      if (frame.type === "session" && frame.data.reset) seq = 0;
      else if (Number.isInteger(frame.seq)) seq = frame.seq;
    },
    onState: (state) => states.push(state),
    isOnline: () => network.online,
    clock: { later: (run, ms) => timers.push({ run, ms }), cancel: () => {} },
  });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return { ...given, polling, frames, states, timers, settle, next: async () => (timers.at(-1).run(), settle()) };
}

test("it returns the stored frames of the log, each once", async () => {
  const { polling, l, stored, frames, settle, next, states } = setup();
  stored.push(l.start(), l.step("start"));
  polling.open();
  await settle();
  stored.push(l.complete());
  await next();
  assert.deepEqual(
    frames.filter((frame) => frame.seq).map((frame) => frame.seq),
    [1, 2, 3],
  );
  assert.equal(states.at(-1).word, "polling");
  assert.equal(polling.isOpen, true);
});

test("it polls often during a run, rarely otherwise", async () => {
  const { polling, timers, settle } = setup();
  polling.open();
  await settle();
  assert.equal(timers.at(-1).ms, POLL.idle);
  polling.send("chat", { message: "hello", client_message_id: "c" });
  await settle();
  assert.equal(timers.at(-1).ms, POLL.busy);
});

test("a message is accepted with its own id, and its run appears", async () => {
  const { polling, frames, settle } = setup();
  polling.open();
  await settle();
  assert.equal(polling.send("chat", { message: "hello", client_message_id: "c" }), true);
  await settle();
  const accepted = frames.find((frame) => frame.type === "accepted");
  assert.equal(accepted.data.client_message_id, "c");
  assert.equal(accepted.data.queued, 0);
  assert.ok(frames.some((frame) => frame.type === "reasoning_start"));
});

test("a refusal comes as the error frame of that message", async () => {
  const { polling, frames, settle } = setup();
  polling.open();
  await settle();
  polling.send("chat", { message: "too long", client_message_id: "c" });
  await settle();
  const error = frames.find((frame) => frame.type === "error");
  assert.deepEqual(error.data, { code: "too_large", message: "Too long.", client_message_id: "c" });
});

test("an unreachable server is tried again, after longer pauses, and the message is reported as not sent", async () => {
  const given = server();
  const { polling, states, timers, frames, settle, next } = setup(given);
  polling.open();
  await settle();
  given.break(new TypeError("network"));
  polling.send("chat", { message: "hello", client_message_id: "c" });
  await settle();
  assert.ok(frames.some((frame) => frame.type === "unsent"));
  assert.equal(states.at(-1).word, "waiting");
  await next();
  const first = timers.at(-1).ms;
  await next();
  assert.ok(timers.at(-1).ms > first);
  given.break(null);
  await next();
  assert.equal(states.at(-1).word, "polling");
});

for (const [status, word] of [
  [401, "logged_out"],
  [404, "gone"],
]) {
  test(`${status} ends in ${word}`, async () => {
    const given = server();
    const { polling, states, timers, settle } = setup(given);
    given.break(new ApiError(status, "x", ""));
    polling.open();
    await settle();
    assert.equal(states.at(-1).word, word);
    assert.equal(timers.length, 0);
  });
}

test("a log that is shorter than last_seq is read from its beginning", async () => {
  const { polling, l, stored, frames, settle, next } = setup();
  stored.push(l.start(), l.step("start"), l.complete());
  polling.open();
  await settle();
  stored.length = 1;
  await next();
  await next();
  assert.ok(frames.some((frame) => frame.type === "session" && frame.data.reset));
  assert.equal(frames.at(-1).seq, 1);
});

test("stop and continue use the API's own calls", async () => {
  const { polling, calls, settle } = setup();
  polling.open();
  await settle();
  polling.send("cancel", { run_id: "r" });
  await settle();
  polling.send("continue", { run_id: "r", client_message_id: "c" });
  await settle();
  assert.deepEqual(
    calls.filter(([name]) => name !== "events"),
    [
      ["cancel", "r"],
      ["continueRun", "r", { client_message_id: "c" }],
    ],
  );
});

test("writes have the CSRF token; errors have a text", async () => {
  const asked = [];
  const fetch = async (path, options) => {
    asked.push([path, options]);
    return {
      ok: false,
      status: 429,
      text: async () => '{"error":{"code":"rate_limited","message":"Too fast.","id":"x"}}',
    };
  };
  const api = createApi({ fetch, token: () => "t" });
  await assert.rejects(api.createSession("writer"), { status: 429, code: "rate_limited", message: "Too fast." });
  assert.equal(asked[0][0], "/api/sessions/");
  assert.equal(asked[0][1].headers["X-CSRFToken"], "t");
  await assert.rejects(api.events("s", 0), ApiError);
  assert.equal(asked[1][1].headers["X-CSRFToken"], undefined);
});

test("an answer that is no JSON is an error without a text, not a crash", async () => {
  const fetch = async () => ({ ok: false, status: 502, text: async () => "<html>" });
  await assert.rejects(createApi({ fetch, token: () => "" }).remove("s"), { status: 502, code: "internal" });
});

test("what is not there any more is deleted: the answer to the call before may have been lost", async () => {
  const answer = (status) => createApi({ fetch: async () => ({ ok: false, status, text: async () => "{}" }), token: () => "" });
  for (const call of ["remove", "deleteComment"]) {
    await answer(404)[call]("s");
    await assert.rejects(answer(403)[call]("s"), { status: 403 });
  }
});

/** What happens to a message with this answer: is it sent again, or reported as refused? A further case is one line. */
const OUTCOMES = [
  ["the network broke", new TypeError("fetch"), "unsent"],
  ["no answer for long", new DOMException("timed out", "TimeoutError"), "unsent"],
  ["a proxy without a server", new ApiError(502, "internal", ""), "unsent"],
  ["a proxy's own error", new ApiError(500, "internal", ""), "unsent"],
  ["a proxy that waited in vain", new ApiError(504, "internal", ""), "unsent"],
  ["logged out", new ApiError(401, "not_allowed", "Please log in."), "unsent"],
  ["too long for a proxy", new ApiError(413, "internal", ""), "error"],
  ["too many queued", new ApiError(429, "queue_full", "Five wait."), "error"],
  ["no right to", new ApiError(403, "not_allowed", "You may watch."), "error"],
  ["our fault, in words", new ApiError(500, "internal", "Noted."), "error"],
  ["the database, in words", new ApiError(503, "storage", "Try again."), "error"],
];
for (const [name, error, type] of OUTCOMES) {
  test(`a message with such an answer is not lost: ${name}`, async () => {
    const { polling, frames, timers, settle, ...given } = setup();
    polling.open();
    await settle();
    given.break(error);
    polling.send("chat", { message: "hello", client_message_id: "m1" });
    await settle();
    const last = frames.at(-1);
    assert.equal(last.type, type);
    assert.equal(last.data.client_message_id, "m1");
    if (type === "error") assert.notEqual(last.data.message, "");
    else if (error.status !== 401) assert.ok(timers.at(-1).ms >= POLL.busy, "it is not sent again at once");
  });
}

test("after a logout the server is polled again when the page is shown", async () => {
  const { polling, states, settle, ...given } = setup();
  given.break(new ApiError(401, "not_allowed", "Please log in."));
  polling.open();
  await settle();
  assert.equal(states.at(-1).word, "logged_out");
  given.break(null);
  polling.nudge();
  await settle();
  assert.equal(states.at(-1).word, "polling");
});

test("a browser that wrongly reports being offline does not stop polling", async () => {
  const given = server();
  const { polling, states, settle, next } = setup(given, { online: false });
  given.break(new TypeError("network"));
  polling.open();
  await settle();
  await next();
  assert.equal(states.at(-1).word, "offline");
  given.break(null);
  await next();
  assert.equal(states.at(-1).word, "polling");
  polling.offline();
  assert.equal(states.at(-1).word, "offline");
  await next();
  assert.equal(states.at(-1).word, "polling");
});
