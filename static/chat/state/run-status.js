/**
 * What the page says about the states and ends of runs and their calls: as chat/rendering/humanize.py and rows.py do; a test compares the
 * two.
 */

import { errorText, gettext, ngettext, pgettext } from "../lib/gettext.js";
import { callWaitsFor } from "./figures.js";
import { approxDuration, failed, joined, steps, tools, usage, waited } from "./humanize.js";
/** @import { Call, Counts, Run } from "./types.js" */

/**
 * The status of a run, in a word.
 * @param {string} name
 * @param {{ using?: string[], growing?: string, begun?: boolean, by?: string|null, limit?: number, waits_for?: string }} more
 */
export function status(name, { using = [], growing = "", begun = true, by = null, limit = 0, waits_for = "" } = {}) {
  switch (name) {
    case "queued":
      return gettext("Queued");
    case "waiting":
      return waiting(waits_for);
    case "running":
      return atWork(using, growing, begun);
    case "cancelling":
      return gettext("Stopping");
    case "completed":
      return gettext("Finished");
    case "cancelled":
      return by ? gettext("Stopped by %(name)s", { name: by }) : gettext("Stopped");
    case "failed":
      return gettext("Failed");
    case "interrupted":
      return gettext("Interrupted by restart");
    case "max_iterations":
      return limit ? gettext("Limit of %(n)d reached", { n: limit }) : gettext("Limit reached");
    case "gone":
      return gettext("Not available");
    default:
      return "";
  }
}

/**
 * @param {string[]} using
 * @param {string} growing
 * @param {boolean} begun
 */
function atWork(using, growing, begun) {
  if (growing === "thought") return gettext("Thinking");
  if (growing === "final_answer" || growing === "response") return gettext("Answering");
  if (using.length === 1) return gettext("Using %(tool)s", { tool: using[0] });
  if (using.length) return ngettext("Using %(n)d tool", "Using %(n)d tools", using.length);
  return begun ? gettext("Thinking") : gettext("Starting");
}

/**
 * What a run waits for.
 * @param {string} what
 */
export function waiting(what) {
  switch (what) {
    case "approval":
      return gettext("Waiting for approval");
    case "question":
      return gettext("Waiting for an answer");
    default:
      return gettext("Waiting for somebody");
  }
}

/** @type {Readonly<Record<string, string>>} */
const DOTS = Object.freeze({
  queued: "queue",
  running: "live",
  waiting: "wait",
  cancelling: "halt",
  completed: "done",
  cancelled: "halt",
  failed: "fail",
  interrupted: "wait",
  max_iterations: "halt",
});

/**
 * The dot before the status.
 * @param {string} name
 */
export const dot = (name) => DOTS[name] ?? "done";

/**
 * The headline of a failure, by the protocol's error code.
 * @param {string} code
 */
export function cause(code) {
  switch (code) {
    case "model_unreachable":
      return gettext("The model could not be reached.");
    case "model_auth":
      return gettext("The model refused the key.");
    case "model_rate_limited":
      return gettext("The model has had too many requests.");
    case "model_timeout":
      return gettext("The model stopped answering.");
    case "model_cut_off":
      return gettext("The model was cut off.");
    case "model_error":
      return gettext("The model reported an error.");
    case "tool_failed":
      return gettext("A tool failed.");
    case "storage":
      return gettext("A step could not be stored.");
    case "budget_exceeded":
      return gettext("The budget is used up.");
    default:
      return gettext("The run failed.");
  }
}

/** @type {Readonly<Record<string, string>>} */
const END_ICONS = Object.freeze({
  completed: "check",
  cancelled: "cancelled",
  failed: "fail",
  interrupted: "warn",
  max_iterations: "warn",
  gone: "cancelled",
});

/** @param {string} name */
export const endIcon = (name) => END_ICONS[name] ?? "check";

/**
 * What is shown about an end that was not a normal one.
 * @param {Run} run
 * @param {Counts} counts
 */
export function failureBanner(run, counts) {
  const kept = steps(counts.steps);
  if (run.removed) return null;
  switch (run.status) {
    case "failed": {
      const report = run.error?.id ? gettext("Report %(id)s.", { id: run.error.id.slice(0, 8) }) : "";
      return {
        tone: "fail",
        icon: "fail",
        title: cause(run.error?.code ?? ""),
        text: sentences(run.error ? errorText(run.error) : "", report),
      };
    }
    case "interrupted":
      return {
        tone: "wait",
        icon: "warn",
        title: gettext("Interrupted by a restart."),
        text: gettext("What was done until then is kept: %(steps)s.", { steps: kept }),
      };
    case "cancelled":
      return {
        tone: "",
        icon: "cancelled",
        title: gettext("What was written until then is kept."),
        text: "",
      };
    case "max_iterations": {
      const limit = run.limit || run.iteration;
      return {
        tone: "wait",
        icon: "warn",
        title: ngettext("The only iteration is used.", "All %(n)d iterations are used.", limit),
        text: ngettext("Continue allows %(n)d more.", "Continue allows %(n)d more.", limit),
      };
    }
    default:
      return null;
  }
}

/**
 * "Finished · 9 steps · 4 tools · 1 m 12 s · 8.1k in / 1.3k out"
 * @param {Run} run
 * @param {Counts} counts
 */
export function runSummary(run, counts) {
  if (run.removed) {
    const name = run.cancelled_by;
    return name ? gettext("Removed from the queue by %(name)s", { name }) : gettext("Removed from the queue");
  }
  const used = run.usage;
  const spent = (used?.input_tokens ?? 0) + (used?.output_tokens ?? 0);
  return joined(
    status(run.status, { by: run.cancelled_by, limit: run.limit }),
    run.enable_reasoning ? steps(counts.steps) : "",
    counts.tools ? tools(counts.tools) : "",
    failed(counts.failed),
    approxDuration(run.duration_ms),
    waited(run.waited_ms),
    used && spent ? usage(used) : "",
  );
}

/**
 * A call's state and its word; a call that succeeded has neither.
 * @param {Run} run
 * @param {Call} call
 * @param {boolean} isBroken
 * @returns {[string, string]}
 */
export function callState(run, call, isBroken) {
  if (call.result === null && run.ended) return call.decision ? ["", ""] : ["off", gettext("No result")];
  if (call.result === null) {
    const what = callWaitsFor(call);
    return what ? ["wait", waiting(what)] : ["live", pgettext("a call", "Running")];
  }
  if (call.result.ok) return ["", ""];
  if (call.decision?.decision === "deny") return ["off", call.request?.fields ? gettext("Not answered") : gettext("Denied")];
  if (isBroken) return ["fail", gettext("Failed")];
  return ["off", run.status === "cancelled" ? pgettext("a call", "Cancelled") : pgettext("a call", "Interrupted")];
}

/**
 * Two whole sentences, one after the other; either may be empty.
 * @param {string} one
 * @param {string} other
 */
function sentences(one, other) {
  // A full stop in Chinese includes its space.
  return one && other ? `${one}${"。！？".includes(one.slice(-1)) ? "" : " "}${other}` : one || other;
}
