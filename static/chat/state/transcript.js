/**
 * Frames in, state out. Pure: no document, no clock, no socket. The mirror of chat/rendering/transcript.py.
 *
 * The state is never changed in place: what a frame does not change stays the same object, so that the view finds by `===` what it has to
 * paint.
 */

import { errorText } from "../lib/gettext.js";
import { foldCall, foldDecision, foldResult, waitingNoted } from "./calls.js";
import { addDelta } from "./growth.js";
import { adopt, newRun } from "./new-run.js";

/** @import { Frame, Page, Run, State, StoredFrame } from "./types.js" */

const REQUESTS = ["approval_request", "question"];
const LIVE = ["queued", "running", "cancelling"];

/**
 * The initial state: empty, or what the server has put into the page.
 *
 * @param {Partial<Page>} page
 * @returns {State}
 */
export function initial(page = {}) {
  const runs = (page.runs ?? []).map(adopt);
  return {
    session: page.session ?? null,
    seq: page.cursor?.seq ?? 0,
    id: page.cursor?.id ?? null,
    head: page.cursor?.seq ?? 0,
    joined: false,
    order: runs.filter((run) => run.parent === null).map((run) => run.id),
    within: runs.filter((run) => run.parent !== null).map((run) => run.id),
    runs: Object.fromEntries(runs.map((run) => [run.id, run])),
    live: page.run ?? null,
    queue: page.queue ?? [],
    steering: page.steering ?? [],
    words: [...(page.late ?? []), ...idsOf(page.steering)],
    people: [],
    gap: false,
    isGone: false,
    resets: 0,
    context: null,
    budget: null,
  };
}

/** @param {{client_message_id: string}[]} [words] */
function idsOf(words = []) {
  return words.map((word) => word.client_message_id);
}

/**
 * The run that the page's head shows: the running one, else the latest one that was not removed from the queue.
 *
 * @param {State} state
 * @returns {Run|null}
 */
export function current(state) {
  const last = state.order.findLast((id) => !state.runs[id].removed) ?? state.order.at(-1) ?? "";
  return state.runs[state.live?.id ?? ""] ?? state.runs[last] ?? null;
}

/** Whether a frame is a stored event. @param {Frame} frame @returns {frame is StoredFrame} */
function isStored(frame) {
  return "seq" in frame;
}

/**
 * The state after one frame. A frame that changes nothing returns the state itself.
 *
 * @param {State} state
 * @param {Frame} frame
 * @returns {State}
 */
export function reduce(state, frame) {
  switch (frame.type) {
    case "session":
      return joinedSession(state, frame.data);
    case "queue":
      return { ...state, queue: frame.data };
    case "steering":
      return { ...state, steering: frame.data, words: [...new Set([...state.words, ...idsOf(frame.data)])] };
    case "presence":
      return { ...state, people: frame.data };
    case "reasoning_delta":
    case "child_delta":
      return withDelta(state, frame.run_id ?? "", frame.data);
    case "pong":
      return frame.data.last_seq > state.head ? { ...state, head: frame.data.last_seq } : state;
    default:
      return isStored(frame) ? stored(state, frame) : state;
  }
}

/**
 * @param {State} state
 * @param {import("../protocol.js").SessionData} data
 * @returns {State}
 */
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
    steering: data.steering ?? [],
    words: [...new Set([...state.words, ...idsOf(data.steering)])],
    context: data.context ?? fresh.context,
    budget: data.budget ?? fresh.budget,
    runs: [...(data.run ? [data.run] : []), ...data.children].reduce(cancelling, fresh.runs),
  };
}

/**
 * The status of a run that is being stopped comes only in the session's own frame.
 *
 * @param {State["runs"]} runs
 * @param {{id: string, status: string}} live
 */
function cancelling(runs, { id, status }) {
  const run = runs[id];
  if (!run || run.ended || run.status === status || !LIVE.includes(status)) return runs;
  return { ...runs, [id]: { ...run, status } };
}

/**
 * A stop was requested, by this reader or another: the run is ending.
 *
 * @param {State} state
 * @param {string} runId
 * @returns {State}
 */
export function stopping(state, runId) {
  return { ...state, runs: cancelling(state.runs, { id: runId, status: "cancelling" }) };
}

/**
 * The session was deleted, and everything in it with it.
 *
 * @param {State} state
 * @returns {State}
 */
export function abandoned(state) {
  const runs = Object.fromEntries(
    Object.values(state.runs).map((run) => [run.id, run.ended ? run : { ...run, status: "gone", ended: true, growth: null }]),
  );
  return { ...state, runs, live: null, queue: [], steering: [], people: [], isGone: true };
}

/**
 * @param {State} state
 * @param {StoredFrame} frame
 * @returns {State}
 */
function stored(state, frame) {
  if (frame.seq <= state.seq) return state;
  if (frame.seq > state.seq + 1) return state.gap ? state : { ...state, gap: true };
  const known = state.runs[frame.run_id];
  const run = applied(known ?? newRun(frame.run_id), frame);
  const all = { ...state.runs, [run.id]: run };
  const { type = "", timestamp = 0 } = /** @type {{type?: string, timestamp?: number}} */ (frame.data);
  const runs = run.waits.length > 0 || REQUESTS.includes(type) ? waitingNoted(all, run.id, timestamp) : all;
  const shares = sharesOf(frame);
  return {
    ...state,
    gap: false,
    seq: frame.seq,
    id: frame.id,
    head: Math.max(state.head, frame.seq),
    runs,
    ...(known ? {} : begun(state, frame)),
    live: isWithin(frame) ? state.live : liveAfter(state.live, run, runs),
    context: shares.context ?? state.context,
    budget: shares.budget ?? state.budget,
  };
}

/** Whether an event is of a run within another one. @param {StoredFrame} frame */
const isWithin = (frame) => frame.type.startsWith("child_");

/** Where a run that was not known is added. @param {State} state @param {StoredFrame} frame */
function begun(state, frame) {
  return isWithin(frame) ? { within: [...state.within, frame.run_id] } : { order: [...state.order, frame.run_id] };
}

/**
 * The model's context and the budget, as the end of an iteration reports them.
 *
 * @param {StoredFrame} frame
 * @returns {{context?: State["context"], budget?: State["budget"]}}
 */
function sharesOf({ type, data }) {
  return type === "reasoning_step" && data.type === "iteration_end" ? data : {};
}

/**
 * @param {State["live"]} live
 * @param {Run} run
 * @param {State["runs"]} runs
 * @returns {State["live"]}
 */
function liveAfter(live, run, runs) {
  // A run that is removed from the queue starts and ends while another one is running.
  if (live && !runs[live.id]?.ended) return live;
  return run.ended ? null : { id: run.id, status: run.status, started_at: run.started_at };
}

/**
 * @param {Run} run
 * @param {import("../protocol.js").ReasoningStartData|import("../protocol.js").ChildStartData} data
 * @returns {Run}
 */
function started(run, data) {
  return {
    ...run,
    started_at: data.timestamp,
    agent: data.agent,
    model: data.model ?? "",
    limit: data.max_iterations ?? 0,
    message: data.message,
    files: data.files ?? [],
    sent_along: data.sent_along ?? null,
    user: data.user ?? "",
    enable_reasoning: data.enable_reasoning ?? true,
    continues: data.continues ?? null,
    parent: "parent" in data ? data.parent : null,
  };
}

/**
 * @param {Run} run
 * @param {StoredFrame} frame
 * @returns {Run}
 */
function applied(run, { type, seq, data }) {
  switch (type) {
    case "reasoning_start":
    case "child_start":
      return started(run, data);
    case "reasoning_step":
    case "child_step":
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
    case "child_error":
      return { ...run, error: errorOf(data) };
    case "reasoning_complete":
    case "child_complete":
      return completed(run, data);
    default:
      return run;
  }
}

/**
 * @param {Run} run
 * @param {import("../protocol.js").ReasoningCompleteData} data
 * @returns {Run}
 */
function completed(run, data) {
  return {
    ...run,
    status: data.status,
    ended: true,
    growth: null,
    duration_ms: data.duration_ms ?? null,
    waited_ms: data.waited_ms ?? null,
    usage: data.usage ?? null,
    cancelled_by: data.cancelled_by ?? null,
    iteration: data.total_iterations ?? run.iteration,
    removed: data.removed ?? run.removed,
  };
}

/**
 * @param {Run} run
 * @param {number} seq
 * @param {import("../protocol.js").StepData} data
 * @returns {Run}
 */
function appliedStep(run, seq, data) {
  const at = data.timestamp ?? 0;
  const iteration = data.iteration ?? 0;
  const next = "step" in data ? superseded(run, data.step) : run;
  switch (data.type) {
    case "iteration_start":
      return { ...withPieceKept(next), iteration };
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
            text: errorText({ template: data.template, values: data.values, message: data.content }),
            duration_ms: data.duration_ms ?? null,
            partial: Boolean(data.partial),
            calls: [],
            by: "",
          },
        ],
      };
    case "tool_use":
      return foldCall(next, seq, at, iteration, data);
    case "tool_result":
      return foldResult(next, seq, at, iteration, data);
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
    case "steer": {
      const { content: text, user: by } = data;
      const item = { seq, step: 0, at, iteration, text, by, duration_ms: null, partial: false, calls: [] };
      return { ...next, items: [...next.items, { ...item, kind: "word" }] };
    }
    case "max_iterations_reached":
      return { ...next, limit: data.max_iterations ?? 0 };
    case "approval_request":
    case "question":
    case "approval":
    case "answer":
      return foldDecision(next, seq, at, data);
    case "error":
      return next.error ? next : { ...next, error: { message: data.error, code: data.code, id: "" } };
    default:
      return next;
  }
}

/**
 * The model is asked again after the first part of an answer: that part becomes a row like a thought's.
 *
 * @param {Run} run
 * @returns {Run}
 */
function withPieceKept(run) {
  if (run.answer === null) return run;
  const piece = { ...run.answer, iteration: run.iteration, calls: [], by: "" };
  return { ...run, answer: null, items: [...run.items, { ...piece, kind: "thought" }] };
}

/**
 * A finished step replaces the draft with its number, whatever type that had.
 *
 * @param {Run} run
 * @param {number} step
 * @returns {Run}
 */
function superseded(run, step) {
  const growth = run.growth && run.growth.step <= step ? null : run.growth;
  return { ...run, growth, finished: Math.max(run.finished, step) };
}

/**
 * @param {State} state
 * @param {string} runId
 * @param {import("../protocol.js").DeltaData} data
 * @returns {State}
 */
function withDelta(state, runId, data) {
  const run = state.runs[runId];
  if (!run || run.ended || (data.step !== 0 && data.step <= run.finished)) return state;
  const growth = addDelta(run.growth, data);
  if (growth === run.growth) return state;
  return { ...state, runs: { ...state.runs, [runId]: { ...run, growth } } };
}

/** An error, with the parts of its sentence if it has any. @param {any} data */
function errorOf({ message, code, id = "", template, values }) {
  return { message, code, id, ...(template === undefined ? {} : { template }), ...(values === undefined ? {} : { values }) };
}
