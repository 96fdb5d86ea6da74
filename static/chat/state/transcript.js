/**
 * Frames in, state out. Pure: no document, no clock, no socket. The mirror of chat/rendering/transcript.py.
 *
 * The state is never changed in place: what a frame does not touch stays the very same object, so that the view can tell
 * by `===` what it has to paint.
 */

import { ENDS } from "../protocol.js";

const LIVE = ["queued", "running", "cancelling"];

/** The state of a page that knows nothing yet, or what the server put into it. */
export function initial(page = {}) {
  const runs = (page.runs ?? []).map(adopt);
  return {
    session: page.session ?? null,
    seq: page.cursor?.seq ?? 0,
    id: page.cursor?.id ?? null,
    head: page.cursor?.seq ?? 0,
    joined: false,
    order: runs.map((run) => run.id),
    runs: Object.fromEntries(runs.map((run) => [run.id, run])),
    live: page.run ?? null,
    queue: page.queue ?? [],
    people: [],
    gap: false,
    isGone: false,
    resets: 0,
  };
}

function adopt(run) {
  return { ...newRun(run.id), ...run, growth: null, ended: ENDS.includes(run.status) };
}

function newRun(id) {
  return {
    id,
    status: "running",
    ended: false,
    started_at: null,
    agent: "",
    model: "",
    message: "",
    user: "",
    enable_reasoning: true,
    continues: null,
    iteration: 0,
    limit: 0,
    items: [],
    answer: null,
    error: null,
    duration_ms: null,
    usage: null,
    cancelled_by: null,
    removed: false,
    outside: {},
    growth: null,
    finished: 0,
  };
}

/** The run that the page speaks of: the one at work, else the latest one that was not taken out of the line. */
export function current(state) {
  const last = state.order.findLast((id) => !state.runs[id].removed) ?? state.order.at(-1);
  return state.runs[state.live?.id] ?? state.runs[last] ?? null;
}

/** The state after one frame. A frame that changes nothing returns the state itself. */
export function reduce(state, frame) {
  switch (frame.type) {
    case "session":
      return joinedSession(state, frame.data);
    case "queue":
      return { ...state, queue: frame.data };
    case "presence":
      return { ...state, people: frame.data };
    case "reasoning_delta":
      return grown(state, frame.run_id, frame.data);
    case "pong":
      return frame.data.last_seq > state.head ? { ...state, head: frame.data.last_seq } : state;
    default:
      return Number.isInteger(frame.seq) ? stored(state, frame) : state;
  }
}

function joinedSession(state, data) {
  const fresh = data.reset ? { ...initial(), resets: state.resets + 1 } : state;
  return {
    ...fresh,
    session: { id: data.session_id, title: data.title, agent: data.agent, role: data.role },
    joined: true,
    gap: false,
    head: Math.max(data.last_seq, data.reset ? 0 : fresh.seq),
    live: data.run,
    queue: data.queue,
    runs: data.run ? cancelling(fresh.runs, data.run) : fresh.runs,
  };
}

/** A run that is being stopped says so only in the session's line. */
function cancelling(runs, line) {
  const run = runs[line.id];
  if (!run || run.ended || run.status === line.status || !LIVE.includes(line.status)) return runs;
  return { ...runs, [line.id]: { ...run, status: line.status } };
}

/** This reader asked for the stop, or was told of it: the run is on its way to its end. */
export function stopping(state, runId) {
  return { ...state, runs: cancelling(state.runs, { id: runId, status: "cancelling" }) };
}

/** The session is gone, and all of it with it: nothing here goes on. */
export function abandoned(state) {
  const runs = Object.fromEntries(
    Object.values(state.runs).map((run) => [run.id, run.ended ? run : { ...run, status: "gone", ended: true, growth: null }]),
  );
  return { ...state, runs, live: null, queue: [], people: [], isGone: true };
}

function stored(state, frame) {
  if (frame.seq <= state.seq) return state;
  if (frame.seq > state.seq + 1) return state.gap ? state : { ...state, gap: true };
  const known = state.runs[frame.run_id];
  const run = applied(known ?? newRun(frame.run_id), frame);
  const runs = { ...state.runs, [run.id]: run };
  return {
    ...state,
    gap: false,
    seq: frame.seq,
    id: frame.id,
    head: Math.max(state.head, frame.seq),
    runs,
    order: known ? state.order : [...state.order, run.id],
    live: liveAfter(state.live, run, runs),
  };
}

function liveAfter(live, run, runs) {
  // One that is taken out of the line starts and ends in the middle of the one at work.
  if (live && !runs[live.id]?.ended) return live;
  return run.ended ? null : { id: run.id, status: run.status, started_at: run.started_at };
}

function applied(run, { type, seq, data }) {
  switch (type) {
    case "reasoning_start":
      return {
        ...run,
        started_at: data.timestamp,
        agent: data.agent,
        model: data.model ?? "",
        message: data.message,
        user: data.user ?? "",
        enable_reasoning: data.enable_reasoning ?? true,
        continues: data.continues ?? null,
      };
    case "reasoning_step":
      return appliedStep(run, seq, data);
    case "response":
      return {
        ...run,
        growth: null,
        answer: {
          seq,
          step: 0,
          at: 0,
          text: data.content,
          duration_ms: null,
          partial: Boolean(data.partial),
        },
      };
    case "error":
      return { ...run, error: { message: data.message, code: data.code, id: data.id ?? "" } };
    case "reasoning_complete":
      return {
        ...run,
        status: data.status,
        ended: true,
        growth: null,
        duration_ms: data.duration_ms ?? null,
        usage: data.usage ?? null,
        cancelled_by: data.cancelled_by ?? null,
        iteration: data.total_iterations ?? run.iteration,
        removed: data.removed ?? run.removed,
      };
    default:
      return run;
  }
}

function appliedStep(run, seq, data) {
  const at = data.timestamp ?? 0;
  const iteration = data.iteration ?? 0;
  const next = Number.isInteger(data.step) ? superseded(run, data.step) : run;
  switch (data.type) {
    case "iteration_start":
      return { ...next, iteration };
    case "thought":
      return {
        ...next,
        items: [
          ...next.items,
          {
            kind: "thought",
            seq,
            step: data.step,
            at,
            iteration,
            text: data.content,
            duration_ms: data.duration_ms ?? null,
            partial: Boolean(data.partial),
            calls: [],
          },
        ],
      };
    case "tool_use":
      return called(next, seq, at, iteration, data);
    case "tool_result":
      return answered(next, seq, at, iteration, data);
    case "final_answer":
      return {
        ...next,
        answer: {
          seq,
          step: data.step,
          at,
          text: data.content,
          duration_ms: data.duration_ms ?? null,
          partial: Boolean(data.partial),
        },
      };
    case "max_iterations_reached":
      return { ...next, limit: data.max_iterations ?? 0 };
    case "error":
      return next.error ? next : { ...next, error: { message: data.error, code: data.code, id: "" } };
    default:
      return next;
  }
}

/** A finished step replaces what had grown under its number, whatever type that had. */
function superseded(run, step) {
  const growth = run.growth && run.growth.step <= step ? null : run.growth;
  return { ...run, growth, finished: Math.max(run.finished, step) };
}

function called(run, seq, at, iteration, data) {
  const call = {
    seq,
    step: data.step,
    at,
    call_id: data.tool_call_id,
    name: data.tool_name,
    arguments: data.arguments,
    result: null,
  };
  const last = run.items.at(-1);
  if (last?.kind === "calls" && last.iteration === iteration) {
    return { ...run, items: [...run.items.slice(0, -1), { ...last, calls: [...last.calls, call] }] };
  }
  return { ...run, items: [...run.items, calls(seq, call, iteration)] };
}

function calls(seq, call, iteration) {
  return {
    kind: "calls",
    seq,
    step: call.step,
    at: call.at,
    iteration,
    text: "",
    duration_ms: null,
    partial: false,
    calls: [call],
  };
}

function answered(run, seq, at, iteration, data) {
  const content = data.content ?? "";
  const result = {
    seq,
    at,
    ok: Boolean(data.ok),
    content,
    duration_ms: data.duration_ms ?? null,
    truncated: Boolean(data.truncated),
    content_length: data.content_length ?? content.length,
  };
  for (let index = run.items.length - 1; index >= 0; index -= 1) {
    const item = run.items[index];
    const place = item.calls.findIndex((call) => call.call_id === data.tool_call_id && call.result === null);
    if (place >= 0) {
      const items = [...run.items];
      items[index] = { ...item, calls: item.calls.with(place, { ...item.calls[place], result }) };
      return { ...run, items };
    }
  }
  // Its call lies before what this page holds: it stands for itself.
  const call = {
    seq: null,
    step: data.step,
    at,
    call_id: data.tool_call_id,
    name: data.tool_name,
    arguments: {},
    result,
  };
  return { ...run, items: [...run.items, calls(seq, call, iteration)] };
}

function grown(state, runId, data) {
  const run = state.runs[runId];
  if (!run || run.ended || (data.step !== 0 && data.step <= run.finished)) return state;
  const growth = grow(run.growth, data);
  if (growth === run.growth) return state;
  return { ...state, runs: { ...state.runs, [runId]: { ...run, growth } } };
}

/**
 * Put a delta where it belongs. Offsets count UTF-16 code units, as `length` does.
 * Offset 0 starts the step's text anew; a lower attempt, an older step, and what lies beyond the text one has are ignored.
 */
export function grow(growth, data) {
  const same = growth !== null && growth.step === data.step && growth.attempt === data.attempt;
  const older =
    growth !== null &&
    (data.step < growth.step || (data.step === growth.step && data.attempt < growth.attempt));
  if (older) return growth;
  if (data.offset === 0) return written(data, data.text);
  if (!same || data.offset > growth.text.length) return growth;
  const end = data.offset + data.text.length;
  if (end <= growth.text.length && growth.text.slice(data.offset, end) === data.text) return growth;
  return written(data, growth.text.slice(0, data.offset) + data.text + growth.text.slice(end));
}

function written(data, text) {
  return { step: data.step, type: data.type, attempt: data.attempt, text, tool_name: data.tool_name ?? "" };
}

/** Whether the agent did anything after an item. */
export function wentOn(run, item) {
  return item !== run.items.at(-1) || (run.answer !== null && !run.answer.partial);
}

/** Whether a call has failed; one that was ended together with its run has not. */
export function broken(run, item, call) {
  if (call.result === null || call.result.ok) return false;
  return !["cancelled", "interrupted"].includes(run.status) || wentOn(run, item);
}

/** How many steps, tool calls and failed calls a run has. */
export function counts(run) {
  let [thoughts, made, failed] = [0, 0, 0];
  for (const item of run.items) {
    if (item.kind === "thought") thoughts += 1;
    for (const call of item.calls) {
      made += 1;
      if (broken(run, item, call)) failed += 1;
    }
  }
  const here = { steps: thoughts + made + (run.answer ? 1 : 0), thoughts, tools: made, failed };
  return Object.fromEntries(Object.entries(here).map(([name, number]) => [name, number + (run.outside[name] ?? 0)]));
}

/** Names of the tools that are at work. */
export function using(run) {
  return run.items.flatMap((item) => item.calls.filter((call) => call.result === null).map((call) => call.name));
}

const SHORTEST_BAR = 1.6;

/** When an item began and ended; null where it has not ended or was not measured. */
export function span(item) {
  if (item.kind === "thought") {
    return item.duration_ms === null ? null : [item.at - item.duration_ms / 1000, item.at];
  }
  const results = item.calls.map((call) => call.result);
  if (!results.length || results.includes(null)) return null;
  const starts = results.filter((result) => result.duration_ms !== null).map((r) => r.at - r.duration_ms / 1000);
  return starts.length ? [Math.min(...starts), Math.max(...results.map((result) => result.at))] : null;
}

/** Where a span lies in the run's time, as per cent; null where unknown. */
export function bar(run, of, totalMs, fill) {
  if (!of || !totalMs || run.started_at === null) return null;
  const start = Math.min(100 - SHORTEST_BAR, Math.max(0, ((of[0] - run.started_at) * 100000) / totalMs));
  const width = Math.max(SHORTEST_BAR, ((of[1] - of[0]) * 100000) / totalMs);
  return { x: tenth(start), width: tenth(Math.min(width, 100 - start)), fill };
}

function tenth(number) {
  return Math.floor(number * 10 + 0.5) / 10;
}

/** An item's bar. */
export function itemBar(run, item, totalMs) {
  const hasFailed = item.calls.some((call) => broken(run, item, call));
  return bar(run, span(item), totalMs, item.kind === "thought" ? "model" : hasFailed ? "fail" : "tool");
}

/** The answer's bar. */
export function answerBar(run, totalMs) {
  const answer = run.answer;
  if (!answer || answer.duration_ms === null) return null;
  return bar(run, [answer.at - answer.duration_ms / 1000, answer.at], totalMs, "model");
}
