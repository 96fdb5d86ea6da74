/**
 * A run's tool calls, folded from its steps: requested, waiting for people, decided, answered. Pure, as transcript.js is.
 */

import { waitsFor } from "./figures.js";
/** @import { Call, Item, Run } from "./types.js" */

/** @param {{step: number, tool_call_id: string, tool_name: string}} data @param {number|null} seq @param {number} at */
const callOf = ({ step, tool_call_id, tool_name }, seq, at) => ({
  ...{ seq, step, at, call_id: tool_call_id, name: tool_name },
  within: "",
});

/**
 * Fold a call that the model requests.
 *
 * @param {Run} run
 * @param {number} seq
 * @param {number} at
 * @param {number} iteration
 * @param {import("../protocol.js").ToolUseStep} data
 * @returns {Run}
 */
export function foldCall(run, seq, at, iteration, data) {
  const call = { ...callOf(data, seq, at), arguments: data.arguments, result: null, request: null, decision: null };
  return addCall(run, call, seq, iteration);
}

/**
 * Add a call to those that its model call has already requested.
 *
 * @param {Run} run
 * @param {Call} call
 * @param {number} seq
 * @param {number} iteration
 * @returns {Run}
 */
function addCall(run, call, seq, iteration) {
  const last = run.items.at(-1);
  if (last?.kind === "calls" && last.iteration === iteration) {
    return { ...run, items: [...run.items.slice(0, -1), { ...last, calls: [...last.calls, call] }] };
  }
  return { ...run, items: [...run.items, calls(seq, call, iteration)] };
}

/**
 * @param {number} seq
 * @param {Call} call
 * @param {number} iteration
 * @returns {Item}
 */
function calls(seq, call, iteration) {
  return {
    kind: "calls",
    by: "",
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

/**
 * Fold a call's result.
 *
 * @param {Run} run
 * @param {number} seq
 * @param {number} at
 * @param {number} iteration
 * @param {import("../protocol.js").ToolResultStep} data
 * @returns {Run}
 */
export function foldResult(run, seq, at, iteration, data) {
  const content = data.content ?? "";
  const result = {
    seq,
    at,
    ok: Boolean(data.ok),
    content,
    duration_ms: data.duration_ms ?? null,
    truncated: Boolean(data.truncated),
    content_length: data.content_length ?? content.length,
    files: data.files ?? [],
  };
  const next = withCall(run, (call) => call.call_id === data.tool_call_id && call.result === null, { result });
  if (next !== null) return next;
  // The call is before the first event of this page: the result is shown alone.
  const call = { ...callOf(data, null, at), arguments: {}, result, request: null, decision: null };
  return { ...run, items: [...run.items, calls(seq, call, iteration)] };
}

/**
 * The run with a change to its latest matching call; null if there is none.
 *
 * @param {Run} run
 * @param {(call: Call) => boolean} isMeant
 * @param {Partial<Call>} more
 * @returns {Run|null}
 */
function withCall(run, isMeant, more) {
  for (let index = run.items.length - 1; index >= 0; index -= 1) {
    const item = run.items[index];
    const place = item.calls.findLastIndex(isMeant);
    if (place >= 0) {
      const items = [...run.items];
      items[index] = { ...item, calls: item.calls.with(place, { ...item.calls[place], ...more }) };
      return { ...run, items };
    }
  }
  return null;
}

/**
 * Fold a request for a decision, or a decision.
 *
 * @param {Run} run
 * @param {number} seq
 * @param {number} at
 * @param {any} data
 * @returns {Run}
 */
export function foldDecision(run, seq, at, data) {
  const part = waitingPart(seq, at, data);
  const next = withCall(run, (call) => call.call_id === data.tool_call_id, part);
  if (next !== null || !part.request) return next ?? run;
  // The call is before the first event of this page, or has no number: the request is shown alone.
  const { tool_call_id, tool_name = "ask_user", arguments: args = {} } = data;
  const call = { ...callOf({ step: 0, tool_call_id, tool_name }, null, at), arguments: args, result: null, request: null, decision: null };
  return addCall(run, { ...call, ...part }, seq, data.iteration ?? 0);
}

/** @param {number} seq @param {number} at @param {any} data @returns {Partial<Call>} */
function waitingPart(seq, at, data) {
  const { user = null, deadline = null } = data;
  const more = { arguments: data.arguments ?? null, scope: data.scope || "once", reason: data.reason || "" };
  switch (data.type) {
    case "approval_request":
      return { request: { seq, at, deadline, unanswered: data.unanswered ?? "deny", fields: null, text: "" } };
    case "question":
      return { request: { seq, at, deadline, unanswered: "deny", fields: data.fields, text: data.content } };
    case "approval":
      return { decision: { seq, at, decision: data.decision, user, ...more, answers: null } };
    default:
      return { decision: { seq, at, decision: "answer", user, ...more, answers: data.answers } };
  }
}

/**
 * Update what the calls above a run wait for, after the run's own state may have changed.
 *
 * @param {Record<string, Run>} runs
 * @param {string} id
 * @param {number} at
 * @returns {Record<string, Run>}
 */
export function waitingNoted(runs, id, at) {
  const what = waitsFor(runs[id]);
  const run = { ...runs[id], waits: waitsAfter(runs[id].waits, what !== "", at) };
  const asked = run.parent && runs[run.parent.run_id];
  const next = asked && withCall(asked, (call) => call.call_id === run.parent?.tool_call_id, { within: what });
  const call = asked?.items.flatMap((item) => item.calls).findLast((each) => each.call_id === run.parent?.tool_call_id);
  if (!next || call?.within === what) return { ...runs, [id]: run };
  return waitingNoted({ ...runs, [id]: run, [next.id]: next }, next.id, at);
}

/**
 * @param {number[][]} waits
 * @param {boolean} isWaiting
 * @param {number} at
 */
function waitsAfter(waits, isWaiting, at) {
  const last = waits.at(-1);
  if (last?.length !== 1) return isWaiting ? [...waits, [at]] : waits;
  return isWaiting ? waits : waits.with(-1, [last[0], at]);
}
