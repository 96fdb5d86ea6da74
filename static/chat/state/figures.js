/**
 * Counts and measures of a run: its steps, its failures, and the positions of its bars. The mirror of chat/rendering/transcript.py.
 */

/** @import { Bar, Call, Counts, Item, Run } from "./types.js" */

/**
 * Whether the agent did anything after an item.
 *
 * @param {Run} run
 * @param {Item} item
 * @returns {boolean}
 */
export function wentOn(run, item) {
  return item !== run.items.at(-1) || (run.answer !== null && !run.answer.partial);
}

/**
 * Whether a call has failed; a call that was ended together with its run has not.
 *
 * @param {Run} run
 * @param {Item} item
 * @param {Call} call
 * @returns {boolean}
 */
export function broken(run, item, call) {
  if (call.result === null || call.result.ok || call.decision?.decision === "deny") return false;
  return !["cancelled", "interrupted"].includes(run.status) || wentOn(run, item);
}

/**
 * How many steps, tool calls and failed calls a run has.
 *
 * @param {Run} run
 * @returns {Counts}
 */
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
  const { steps = 0, thoughts: earlier = 0, tools = 0, failed: broke = 0 } = run.outside;
  return { steps: here.steps + steps, thoughts: here.thoughts + earlier, tools: here.tools + tools, failed: here.failed + broke };
}

/** From a run's start to its end, including the time that it waited for people; null before the end. @param {Run} run */
export const wholeMs = (run) => (run.duration_ms === null ? null : run.duration_ms + (run.waited_ms ?? 0));

/**
 * How long a run has waited for people so far, in milliseconds.
 *
 * @param {Run} run
 * @param {number} now the server's time
 */
export function waitedMs(run, now) {
  if (run.waited_ms !== null) return run.waited_ms;
  return Math.round(run.waits.reduce((whole, [from, to = now]) => whole + Math.max(0, to - from), 0) * 1000);
}

/** Whether a call waits for people. @param {Call} call */
export const isWaiting = (call) => call.request !== null && call.decision === null && call.result === null;

/**
 * What a run waits for, if it waits for people: `question`, or `approval`. Empty while a tool or the model is running.
 *
 * @param {Run} run
 */
export function waitsFor(run) {
  const open = run.items.flatMap((item) => item.calls.filter((call) => call.result === null));
  // The decided calls of a turn start when all of them are decided.
  const isAsked = open.some(isWaiting);
  const kinds = open.filter((call) => call.decision === null || !isAsked).map(callWaitsFor);
  if (run.ended || !kinds.length || kinds.includes("")) return "";
  return kinds.every((what) => what === "question") ? "question" : "approval";
}

/** The same for a call: it waits itself, or the run that it has started does. @param {Call} call */
export function callWaitsFor(call) {
  if (isWaiting(call)) return call.request?.fields ? "question" : "approval";
  return call.result === null ? call.within : "";
}

/**
 * Names of the tools that are running.
 *
 * @param {Run} run
 * @returns {string[]}
 */
export function using(run) {
  return run.items.flatMap((item) => item.calls.filter((call) => call.result === null).map((call) => call.name));
}

const SHORTEST_BAR = 1.6;

/**
 * When an item began and ended; null where it has not ended or was not measured.
 *
 * @param {Item} item
 * @returns {[number, number]|null}
 */
export function span(item) {
  if (item.kind === "thought") {
    return item.duration_ms === null ? null : [item.at - item.duration_ms / 1000, item.at];
  }
  const results = item.calls.map((call) => call.result).filter((result) => result !== null);
  if (!results.length || results.length < item.calls.length) return null;
  const starts = results.flatMap(({ at, duration_ms }) => (duration_ms === null ? [] : [at - duration_ms / 1000]));
  return starts.length ? [Math.min(...starts), Math.max(...results.map((result) => result.at))] : null;
}

/**
 * The position of a span in the run's time, in per cent; null if unknown.
 *
 * @param {Run} run
 * @param {[number, number]|null} of
 * @param {number|null} totalMs
 * @param {string} fill
 * @returns {Bar|null}
 */
export function bar(run, of, totalMs, fill) {
  if (!of || !totalMs || run.started_at === null) return null;
  const start = Math.min(100 - SHORTEST_BAR, Math.max(0, ((of[0] - run.started_at) * 100000) / totalMs));
  const width = Math.max(SHORTEST_BAR, ((of[1] - of[0]) * 100000) / totalMs);
  return { x: tenth(start), width: tenth(Math.min(width, 100 - start)), fill };
}

/** @param {number} number */
function tenth(number) {
  return Math.floor(number * 10 + 0.5) / 10;
}

/**
 * An item's bar.
 *
 * @param {Run} run
 * @param {Item} item
 * @param {number|null} totalMs
 * @returns {Bar|null}
 */
export function itemBar(run, item, totalMs) {
  const hasFailed = item.calls.some((call) => broken(run, item, call));
  return bar(run, span(item), totalMs, item.kind === "thought" ? "model" : hasFailed ? "fail" : "tool");
}

/**
 * The answer's bar.
 *
 * @param {Run} run
 * @param {number|null} totalMs
 * @returns {Bar|null}
 */
export function answerBar(run, totalMs) {
  const answer = run.answer;
  if (!answer || answer.duration_ms === null) return null;
  return bar(run, [answer.at - answer.duration_ms / 1000, answer.at], totalMs, "model");
}
