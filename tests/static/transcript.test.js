import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { answerBar, counts, itemBar, using } from "../../static/chat/state/figures.js";
import { addDelta } from "../../static/chat/state/growth.js";
import { initial, reduce, stopping } from "../../static/chat/state/transcript.js";
import { log, sessionFrame } from "./frames.js";

const play = (frames, from = initial()) => frames.reduce(reduce, from);

const cases = JSON.parse(readFileSync(new URL("delta_cases.json", import.meta.url), "utf8"));

for (const { name, deltas, text } of cases) {
  test(`growth: ${name}`, () => {
    assert.equal(deltas.reduce(addDelta, null)?.text ?? null, text);
  });
}

test("a run from its start to its end", () => {
  const l = log();
  const state = play([
    l.start(),
    l.step("start"),
    l.step("iteration_start"),
    l.step("thought", { step: 1, content: "I need it.", duration_ms: 900 }),
    l.step("tool_use", { step: 2, tool_name: "python", tool_call_id: "a", arguments: { code: "1" } }),
    l.step("tool_result", { step: 3, tool_name: "python", tool_call_id: "a", ok: true, content: "1", duration_ms: 20 }),
    l.step("iteration_end"),
    l.step("iteration_start", { iteration: 2 }),
    l.step("final_answer", { step: 4, content: "One.", iteration: 2, duration_ms: 300 }),
    l.step("complete"),
    l.complete({ total_iterations: 2 }),
  ]);
  const run = state.runs[l.run];
  assert.equal(state.seq, 11);
  assert.equal(state.id, "event-11");
  assert.equal(run.status, "completed");
  assert.equal(run.iteration, 2);
  assert.deepEqual(
    run.items.map((item) => item.kind),
    ["thought", "calls"],
  );
  assert.equal(run.items[1].calls[0].result.content, "1");
  assert.equal(run.answer.text, "One.");
  assert.deepEqual(counts(run), { steps: 3, thoughts: 1, tools: 1, failed: 0 });
  assert.equal(state.live, null);
});

test("events that are there already are ignored, and the state stays the same object", () => {
  const l = log();
  const frames = [l.start(), l.step("thought", { step: 1, content: "a" })];
  const state = play(frames);
  assert.equal(reduce(state, frames[0]), state);
  assert.equal(reduce(state, frames[1]), state);
});

test("a gap is noticed, nothing is applied after it, and the replay closes it", () => {
  const l = log();
  const [start, thought, answer] = [
    l.start(),
    l.step("thought", { step: 1, content: "a" }),
    l.step("final_answer", { step: 2, content: "b" }),
  ];
  const holed = play([start, answer]);
  assert.equal(holed.gap, true);
  assert.equal(holed.seq, 1);
  const healed = play([sessionFrame({ last_seq: 3 }), thought, answer], holed);
  assert.equal(healed.gap, false);
  assert.equal(healed.seq, 3);
  assert.equal(healed.runs[l.run].answer.text, "b");
});

test("old state and replayed events give the same state as a new load, wherever it was cut", () => {
  const l = log();
  const frames = [
    l.start(),
    l.step("iteration_start"),
    l.step("thought", { step: 1, content: "a", duration_ms: 5 }),
    l.step("tool_use", { step: 2, tool_name: "x", tool_call_id: "1", arguments: {} }),
    l.step("tool_use", { step: 3, tool_name: "y", tool_call_id: "2", arguments: {} }),
    l.step("tool_result", { step: 4, tool_name: "y", tool_call_id: "2", ok: false, content: "no", duration_ms: 9 }),
    l.step("tool_result", { step: 5, tool_name: "x", tool_call_id: "1", ok: true, content: "yes", duration_ms: 9 }),
    l.step("final_answer", { step: 6, content: "b" }),
    l.complete(),
  ];
  const whole = play(frames);
  for (let cut = 0; cut <= frames.length; cut += 1) {
    const before = play([...frames.slice(0, cut), l.delta({ step: 9, text: "lost" })]);
    const after = play([sessionFrame({ last_seq: 9 }), ...frames], before);
    assert.deepEqual(after.runs, whole.runs, `cut after ${cut}`);
  }
});

test("reset drops everything and takes the whole log", () => {
  const l = log();
  const state = play([l.start(), l.step("thought", { step: 1, content: "a" })]);
  const fresh = reduce(state, sessionFrame({ last_seq: 5, reset: true, title: "Restored" }));
  assert.equal(fresh.seq, 0);
  assert.deepEqual(fresh.order, []);
  assert.equal(fresh.resets, 1);
  assert.equal(fresh.session.title, "Restored");
  const other = log("22222222-2222-4222-8222-222222222222");
  assert.deepEqual(play([other.start()], fresh).order, [other.run]);
});

test("a finished step replaces the text in progress with its number, whatever type that had", () => {
  const l = log();
  let state = play([l.start(), l.delta({ step: 1, type: "thought", text: "Maybe it is the ans" })]);
  assert.equal(state.runs[l.run].growth.text, "Maybe it is the ans");
  state = play([l.step("final_answer", { step: 1, content: "Maybe it is the answer." })], state);
  assert.equal(state.runs[l.run].growth, null);
  assert.equal(state.runs[l.run].answer.text, "Maybe it is the answer.");
  const late = reduce(state, l.delta({ step: 1, text: "Maybe it is the ans" }));
  assert.equal(late, state);
});

test("the progress of a tool is shown under its name until its result is there", () => {
  const l = log();
  const call = { tool_name: "advance", tool_call_id: "a" };
  const progress = (attempt, text) => l.delta({ step: 2, type: "tool_result", attempt, text, tool_name: "advance" });
  let state = play([l.start(), l.step("tool_use", { step: 1, arguments: {}, ...call }), progress(1, "1 of 3")]);
  state = play([progress(2, "2 of 3: half-way")], state);
  const { growth } = state.runs[l.run];
  assert.deepEqual([growth.type, growth.tool_name, growth.text], ["tool_result", "advance", "2 of 3: half-way"]);
  assert.deepEqual(using(state.runs[l.run]), ["advance"]);
  state = play([l.step("tool_result", { step: 2, ok: true, content: "there", ...call })], state);
  assert.equal(state.runs[l.run].growth, null);
  assert.deepEqual(using(state.runs[l.run]), []);
});

test("text in progress of an ended or unknown run is ignored", () => {
  const l = log();
  const state = play([l.start(), l.complete()]);
  assert.equal(reduce(state, l.delta({ step: 1, text: "late" })), state);
  assert.equal(reduce(state, l.delta({ step: 1, text: "early" }, "another")), state);
});

/** Frames that a newer server sends to a page of an older version. A further one is one line. @type {Record<string, (l: any) => any>} */
const FROM_LATER = {
  "a step of an unknown kind": (l) => l.step("weighing", { step: 1, content: "which?", options: [1, 2] }),
  "an event of an unknown kind": (l) => ({ ...l.step("thought", { step: 1, content: "" }), type: "reasoning_paused", data: { why: "?" } }),
  "a growth of an unknown kind": (l) => l.delta({ step: 1, type: "weighing", text: "which?" }),
  "a frame of an unknown kind": () => ({ type: "weather", data: { sky: "blue" } }),
  "a frame without data": () => ({ type: "weather" }),
  "an error of an unknown kind": () => ({ type: "error", data: { code: "solar_flare", message: "Later." } }),
  "fields that nobody knows": (l) => {
    const frame = l.step("thought", { step: 1, content: "I need it.", mood: "calm" });
    return { ...frame, weight: 3, data: { ...frame.data, nested: { deep: [1] } } };
  },
};

for (const [what, make] of Object.entries(FROM_LATER)) {
  test(`a page that is older than its server goes on: ${what}`, () => {
    const l = log();
    const state = play([l.start(), make(l), l.step("final_answer", { step: 2, content: "One." }), l.complete()]);
    const run = state.runs[l.run];
    assert.equal(state.seq, l.seq);
    assert.equal(run.status, "completed");
    assert.equal(run.answer.text, "One.");
    assert.ok(Object.values(counts(run)).every(Number.isInteger));
  });
}

test("tool calls of one model call are grouped, those of the next are not", () => {
  const l = log();
  const call = (id, iteration) =>
    l.step("tool_use", { step: 1, tool_name: id, tool_call_id: id, arguments: {}, iteration });
  const state = play([l.start(), call("a", 1), call("b", 1), call("c", 2)]);
  const { items } = state.runs[l.run];
  assert.deepEqual(
    items.map((item) => item.calls.map((made) => made.call_id)),
    [["a", "b"], ["c"]],
  );
  assert.deepEqual(using(state.runs[l.run]), ["a", "b", "c"]);
});

test("one call id used twice belongs to the open call", () => {
  const l = log();
  const use = (iteration) => l.step("tool_use", { step: 1, tool_name: "x", tool_call_id: "1", arguments: {}, iteration });
  const result = (content) => l.step("tool_result", { step: 2, tool_name: "x", tool_call_id: "1", ok: true, content });
  const state = play([l.start(), use(1), result("first"), use(2), result("second")]);
  const { items } = state.runs[l.run];
  assert.deepEqual(
    items.map((item) => item.calls[0].result.content),
    ["first", "second"],
  );
});

test("a result whose call is before the page is a row of its own", () => {
  const l = log();
  const result = l.step("tool_result", { step: 3, tool_name: "x", tool_call_id: "1", ok: true, content: "yes" });
  const { items } = play([result]).runs[l.run];
  assert.equal(items[0].calls[0].name, "x");
  assert.equal(items[0].calls[0].result.content, "yes");
});

test("a call that ended with its run has not failed; one after which the agent continued has", () => {
  const l = log();
  const make = (id, step) => [
    l.step("tool_use", { step, tool_name: "x", tool_call_id: id, arguments: {}, iteration: step }),
    l.step("tool_result", { step: step + 1, tool_name: "x", tool_call_id: id, ok: false, content: "no", iteration: step }),
  ];
  const frames = [l.start(), ...make("a", 1), ...make("b", 3), l.complete({ status: "cancelled", cancelled_by: "jonas" })];
  const run = play(frames).runs[l.run];
  assert.equal(counts(run).failed, 1);
  assert.equal(run.cancelled_by, "jonas");
});

test("an answer without reasoning is shown in progress and replaced by the stored one", () => {
  const l = log();
  let state = play([
    l.start({ enable_reasoning: false }),
    l.delta({ step: 0, type: "response", text: "Forty" }),
    l.delta({ step: 0, type: "response", offset: 5, text: "-two" }),
  ]);
  assert.equal(state.runs[l.run].growth.text, "Forty-two");
  state = play([l.stored("response", { content: "Forty-two." }), l.complete()], state);
  assert.equal(state.runs[l.run].growth, null);
  assert.equal(state.runs[l.run].answer.text, "Forty-two.");
});

test("stopping is shown at once and replaced by the stored end", () => {
  const l = log();
  const running = play([l.start()]);
  const stops = stopping(running, l.run);
  assert.equal(stops.runs[l.run].status, "cancelling");
  assert.equal(play([l.complete()], stops).runs[l.run].status, "completed");
  const cancelling = reduce(running, sessionFrame({ last_seq: 1, run: { id: l.run, status: "cancelling", started_at: 1000 } }));
  assert.equal(cancelling.runs[l.run].status, "cancelling");
});

test("queue, people and title follow their frames", () => {
  const queue = [{ run_id: "r", client_message_id: "c", user: "mei", message: "next" }];
  const people = [{ user: "mei", role: "owner", sockets: 2 }];
  const state = play([sessionFrame({ title: "Vans" }), { type: "queue", data: queue }, { type: "presence", data: people }]);
  assert.equal(state.session.title, "Vans");
  assert.equal(state.queue, queue);
  assert.equal(state.people, people);
});

test("how full the context is and how spent the budget follow the root's iterations alone", () => {
  const l = log();
  const child = "22222222-2222-4222-8222-222222222222";
  const within = (type, data) =>
    l.stored(type, { content: "", iteration: 1, timestamp: 1002, ...data }, child);
  const asked = play([l.start(), l.step("iteration_start")]);
  assert.deepEqual([asked.context, asked.budget], [null, null]);
  const [context, budget] = [{ used: 900, limit: 8000 }, { used: 5, limit: 10, unit: "tokens" }];
  const known = play([l.step("iteration_end", { context, budget })], asked);
  assert.deepEqual([known.context, known.budget], [context, budget]);
  const parent = { run_id: l.run, tool_call_id: "a", depth: 1 };
  const other = play(
    [
      within("child_start", { agent: "writer", message: "?", user: "mei", enable_reasoning: true, parent }),
      within("child_step", { type: "iteration_end", context: { used: 70, limit: 100 }, budget: { ...budget, used: 6 } }),
    ],
    known,
  );
  assert.deepEqual([other.seq, other.context, other.budget], [5, context, budget]);
  // Clients that join get it with the session frame; a log without any, such as an imported one, has none.
  const joined = play([sessionFrame({ last_seq: 5, context: { used: 950, limit: 8000 } })], other);
  assert.equal(joined.context.used, 950);
  assert.equal(play([sessionFrame()]).context, null);
});

test("an error keeps its text and the report's number", () => {
  const l = log();
  const run = play([
    l.start(),
    l.step("error", { error: "No word for 120 s.", code: "model_timeout" }),
    l.stored("error", { message: "No word for 120 s.", code: "model_timeout", id: "7f3a" }),
    l.complete({ status: "failed", code: "model_timeout" }),
  ]).runs[l.run];
  assert.deepEqual(run.error, { message: "No word for 120 s.", code: "model_timeout", id: "7f3a" });
});

test("the page's own state is taken over, and goes on", () => {
  const l = log();
  const frames = [l.start(), l.step("tool_use", { step: 1, tool_name: "x", tool_call_id: "1", arguments: {} })];
  const first = play(frames);
  const { growth: _growth, finished: _finished, ended: _ended, ...sent } = first.runs[l.run];
  const page = { session: { id: "s" }, cursor: { seq: 2, id: "event-2" }, runs: [sent], run: first.live };
  const result = l.step("tool_result", { step: 2, tool_name: "x", tool_call_id: "1", ok: true, content: "yes" });
  const state = play([result], initial(JSON.parse(JSON.stringify(page))));
  assert.equal(state.gap, false);
  assert.equal(state.runs[l.run].items[0].calls[0].result.content, "yes");
});

test("bars lie within the run, and none is too short to be seen", () => {
  const l = log();
  const run = play([
    l.start(),
    l.step("thought", { step: 1, content: "a", duration_ms: 1000, timestamp: 1001 }),
    l.step("tool_use", { step: 2, tool_name: "x", tool_call_id: "1", arguments: {}, timestamp: 1002 }),
    l.step("tool_result", { step: 3, tool_name: "x", tool_call_id: "1", ok: true, content: "", duration_ms: 1, timestamp: 1002 }),
    l.step("final_answer", { step: 4, content: "b", duration_ms: 2000, timestamp: 1004 }),
    l.complete(),
  ]).runs[l.run];
  assert.deepEqual(itemBar(run, run.items[0], 4000), { x: 0, width: 25, fill: "model" });
  assert.deepEqual(itemBar(run, run.items[1], 4000), { x: 50, width: 1.6, fill: "tool" });
  assert.deepEqual(answerBar(run, 4000), { x: 50, width: 50, fill: "model" });
});

test("two thousand steps in one run are applied in well under a second", () => {
  const l = log();
  const frames = [l.start()];
  for (let number = 1; number <= 2000; number += 1) {
    frames.push(l.step("thought", { step: number, content: "thought", duration_ms: 1, iteration: number }));
  }
  const began = performance.now();
  const state = play(frames);
  assert.equal(state.runs[l.run].items.length, 2000);
  assert.ok(performance.now() - began < 1000);
});
