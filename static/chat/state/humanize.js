/**
 * How the page formats durations, sizes, tools and ends: as chat/rendering/humanize.py does, with the same sentences, so both have one
 * translation; tested equal. What else the scripts say to people stands in messages.js.
 */

import { gettext, interpolate, ngettext, pgettext, translation } from "../lib/gettext.js";
import { stripMarkdown } from "../lib/strip_markdown.js";

export { SENTENCES, connection } from "./messages.js";

const GIST = 160;
/** Characters of a Markdown text that are read for them: the rest may be marks. */
const GIST_OF = 600;
/** Characters of a question that stand on one line, about, and the lines from which on it is folded. */
const LINE = 80;
const LINES = 12;

/** A number and its unit on one line: "5 s" breaks nowhere. */
function bound(figure) {
  return figure.replaceAll(" ", "\u00a0");
}

/** A measured time, as a row shows it: "7 ms", "0.4 s", "30.2 s", "2 m 03 s". Unknown is empty. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 100) return bound(ms >= 1 ? gettext("%(n)s ms", { n: ms }) : gettext("under 1 ms"));
  if (ms < 59950) {
    const tenths = Math.floor((ms + 50) / 100);
    return inSeconds(`${Math.floor(tenths / 10)}.${tenths % 10}`);
  }
  return minutes(ms);
}

/** A measured time within a sentence: "0.4 s", "31 s", "1 m 12 s". */
export function roughly(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 950) return duration(ms);
  if (ms < 59500) return inSeconds(Math.floor((ms + 500) / 1000));
  return minutes(ms);
}

function minutes(ms) {
  const seconds = Math.floor((ms + 500) / 1000);
  if (seconds < 3600) return inMinutes(seconds);
  return bound(gettext("%(h)s h %(m)s m", { h: Math.floor(seconds / 3600), m: two(Math.floor(seconds / 60) % 60) }));
}

function inMinutes(seconds) {
  return bound(gettext("%(m)s m %(s)s s", { m: Math.floor(seconds / 60), s: two(seconds % 60) }));
}

function inSeconds(number) {
  return bound(gettext("%(n)s s", { n: number }));
}

/** A time that is still running, in whole seconds: "8 s", "1 m 02 s". */
export function ticking(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return seconds < 60 ? inSeconds(seconds) : inMinutes(seconds);
}

/** A running clock: "1:11", "1:02:03". */
export function clock(ms) {
  const seconds = Math.floor(Math.max(0, ms) / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

function two(number) {
  return String(number).padStart(2, "0");
}

/** A number of tokens: "208", "8.1k", "1.2M". */
export function count(number) {
  if (number < 1000) return String(number);
  if (number < 999950) {
    const tenths = Math.floor((number + 50) / 100);
    return `${Math.floor(tenths / 10)}.${tenths % 10}k`;
  }
  const tenths = Math.floor((number + 50000) / 100000);
  return `${Math.floor(tenths / 10)}.${tenths % 10}M`;
}

/** The length of a text: "412 characters", "48 kB", "1.2 MB". */
export function size(length) {
  if (length < 1000) return bound(ngettext("%(n)d character", "%(n)d characters", length));
  if (length < 999500) return bound(gettext("%(n)s kB", { n: Math.floor((length + 500) / 1000) }));
  const tenths = Math.floor((length + 50000) / 100000);
  return bound(gettext("%(n)s MB", { n: `${Math.floor(tenths / 10)}.${tenths % 10}` }));
}

/** The beginning of a text on one line. */
export function gist(text) {
  const line = text.slice(0, 400).split(/\s+/u).filter(Boolean).join(" ");
  return line.length <= GIST ? line : Array.from(line).slice(0, GIST).join("");
}

/** The beginning of a model's Markdown on one line, without its marks. */
export function markdownGist(text) {
  return gist(stripMarkdown(Array.from(text.slice(0, 2 * GIST_OF)).slice(0, GIST_OF).join("")));
}

const SEEN = /[^\p{Z}\p{Cc}\p{Cf}\p{Cs}\p{Mn}\p{Me}\u115f\u1160\u2800\u3164\uffa0]/u;

/** Whether nothing of a text can be seen. */
export function isBlank(text) {
  return !SEEN.test(text);
}

/** Whether a question is folded to its first lines: told by its text alone, so that server and page agree. */
export function isLong(message) {
  return message.split("\n").reduce((lines, line) => lines + Math.max(1, Math.ceil(line.length / LINE)), 0) > LINES;
}

/** The argument that tells most about a call, and whether it is code. */
export function telling(args) {
  if (args === null || typeof args !== "object" || Array.isArray(args)) {
    return { text: gist(plain(args)), code: true };
  }
  if (typeof args.query === "string") return { text: gettext("“%(text)s”", { text: gist(args.query) }), code: false };
  if (typeof args.url === "string") return { text: gist(args.url).replace(/^https?:\/\//u, ""), code: false };
  if (typeof args.code === "string") return tellingCode(args.code);
  const values = Object.values(args).filter((value) => ["string", "number", "boolean"].includes(typeof value));
  return { text: gist(values.slice(0, 2).map(plain).join(", ")), code: false };
}

function tellingCode(code) {
  const lines = code.split(/\r\n|\r|\n/u).map((line) => line.trim()).filter(Boolean);
  let isOpen = false;
  const first =
    lines.find((line) => {
      if (!isOpen && !/^(?:import|from) /u.test(line)) return true;
      // An import in brackets goes on over several lines.
      isOpen = (isOpen || line.includes("(")) && !line.includes(")");
      return false;
    }) ?? lines[0] ?? "";
  const comment = first.startsWith("#") ? first.replace(/^[# ]+|[# ]+$/gu, "") : "";
  return comment ? { text: gist(comment), code: false } : { text: gist(first), code: true };
}

function plain(value) {
  return typeof value === "string" ? value : JSON.stringify(value ?? null);
}

/** A value as JSON: plain values on one line, others indented. */
export function asJson(value) {
  return JSON.stringify(value ?? null, null, value !== null && typeof value === "object" ? 2 : 0);
}

/** What came back from a call, in few words. */
export function returned(content) {
  const text = content.trim();
  if ((text[0] === "[" || text[0] === "{") && text.length <= 2000) {
    const value = parsed(text);
    if (Array.isArray(value)) return ngettext("%(n)d item", "%(n)d items", value.length);
    if (value !== undefined) return fields(Object.keys(value).length);
  }
  return gist(text);
}

const fields = (number) => ngettext("%(n)d field", "%(n)d fields", number);

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const ICONS = Object.freeze({
  python: "python",
  fetch_page: "globe",
  search_history: "history",
  current_time: "clock",
});

/** The sprite's symbol for a tool. */
export function icon(toolName) {
  return ICONS[toolName] ?? "tool";
}

function done(name, times) {
  switch (name) {
    case "python":
      return times === 1 ? gettext("ran Python") : ngettext("ran Python %(n)d time", "ran Python %(n)d times", times);
    case "fetch_page":
      return ngettext("read %(n)d page", "read %(n)d pages", times);
    case "search_history":
      return gettext("searched past sessions");
    case "current_time":
      return gettext("looked at the clock");
    default:
      return times === 1
        ? gettext("used %(tool)s", { tool: name })
        : ngettext("used %(tool)s %(n)d time", "used %(tool)s %(n)d times", times, { tool: name });
  }
}

/** One line for what a run did: "Searched past sessions, read 2 pages". */
export function did(toolNames, thoughts = 0) {
  const times = new Map();
  for (const name of toolNames) times.set(name, (times.get(name) ?? 0) + 1);
  const told = [...times].map(([name, number]) => done(name, number)).join(pgettext("between the parts of a list", ", "));
  if (!told) return thoughts ? gettext("Thought it through") : "";
  return told[0].toUpperCase() + told.slice(1);
}

export const atWorkLine = gettext("Working");
export const steps = (number) => bound(ngettext("%(n)d step", "%(n)d steps", number));
export const tools = (number) => bound(ngettext("%(n)d tool", "%(n)d tools", number));
export const failed = (number) => (number ? bound(ngettext("%(n)d failed", "%(n)d failed", number)) : "");
export const joined = (...parts) => parts.filter(Boolean).join(" · ");
export const thoughtFor = (ms) => 
  ms === null || ms === undefined ? gettext("Thought") : gettext("Thought for %(time)s", { time: roughly(ms) });
export const atOnce = (number) => ngettext("%(n)d call at once", "%(n)d calls at once", number);
export const showing = (shown, whole) =>
  gettext("showing %(shown)s of %(whole)s", { shown: size(shown), whole: size(whole) });
export const iterationOf = (number, limit) =>
  limit ? gettext("Iteration %(n)s of %(limit)s", { n: number, limit }) : gettext("Iteration %(n)s", { n: number });

/** Tokens of a run, in two groups that stay whole; an estimate says so. */
export function usage(used) {
  const exact = gettext("%(input)s in / %(output)s out", { input: count(used.input_tokens), output: count(used.output_tokens) });
  const told = used.estimated ? gettext("about %(usage)s", { usage: exact }) : exact;
  return told.split(" / ").map(bound).join(" / ");
}

/** The one status word of a run. */
export function status(name, { using = [], growing = "", begun = true, by = null, limit = 0 } = {}) {
  switch (name) {
    case "queued":
      return gettext("Queued");
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

function atWork(using, growing, begun) {
  if (growing === "thought") return gettext("Thinking");
  if (growing === "final_answer" || growing === "response") return gettext("Answering");
  if (using.length === 1) return gettext("Using %(tool)s", { tool: using[0] });
  if (using.length) return ngettext("Using %(n)d tool", "Using %(n)d tools", using.length);
  return begun ? gettext("Thinking") : gettext("Starting");
}

const DOTS = Object.freeze({
  queued: "queue",
  running: "live",
  cancelling: "halt",
  completed: "done",
  cancelled: "halt",
  failed: "fail",
  interrupted: "wait",
  max_iterations: "halt",
});

/** The dot before the status word. */
export const dot = (name) => DOTS[name] ?? "done";

/** The headline of a failure, by the wire's error code. */
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
    default:
      return gettext("The run failed.");
  }
}

/** Whether a run was removed from the queue before it began. */
export function isRemoved(run) {
  const untouched = run.items.length === 0 && run.answer === null && run.iteration === 0;
  return run.status === "cancelled" && untouched && (run.duration_ms ?? 0) < 50;
}

const END_ICONS = Object.freeze({
  completed: "check",
  cancelled: "cancelled",
  failed: "fail",
  interrupted: "warn",
  max_iterations: "warn",
  gone: "cancelled",
});

export const endIcon = (name) => END_ICONS[name] ?? "check";

/** What an end that was not a plain one says. */
export function trouble(run, counts) {
  const kept = steps(counts.steps);
  if (isRemoved(run)) return null;
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

/** "Finished · 9 steps · 4 tools · 1 m 12 s · 8.1k in / 1.3k out" */
export function endline(run, counts) {
  if (isRemoved(run)) {
    const name = run.cancelled_by;
    return name ? gettext("Removed from the queue by %(name)s", { name }) : gettext("Removed from the queue");
  }
  const used = run.usage ?? {};
  const spent = (used.input_tokens ?? 0) + (used.output_tokens ?? 0);
  return joined(
    status(run.status, { by: run.cancelled_by, limit: run.limit }),
    run.enable_reasoning ? steps(counts.steps) : "",
    counts.tools ? tools(counts.tools) : "",
    failed(counts.failed),
    roughly(run.duration_ms),
    spent ? usage(used) : "",
  );
}

/** A call's state and its word; a call that worked has neither. */
export function callState(run, call, isBroken) {
  if (call.result === null) return run.ended ? ["off", gettext("No result")] : ["live", pgettext("a call", "Running")];
  if (call.result.ok) return ["", ""];
  if (isBroken) return ["fail", gettext("Failed")];
  return ["off", run.status === "cancelled" ? pgettext("a call", "Cancelled") : pgettext("a call", "Interrupted")];
}

/** Two whole sentences, one after the other; either may be empty. */
function sentences(one, other) {
  return one && other ? gettext("%(one)s %(other)s", { one, other }) : one || other;
}

/** The message of an error in the reader's language: by its template where it has one, else as it came. */
export function errorText(error) {
  return error.template ? fromTemplate(error) : (error.message ?? "");
}

function fromTemplate({ template, values = {} }) {
  const said = Object.entries(values).map(([name, value]) => [name, value?.template ? fromTemplate(value) : value]);
  return interpolate(translation(template), Object.fromEntries(said));
}

/** Two letters for a person. */
export function initials(name) {
  const words = name.split(/[\s._\-@]+/u).filter(Boolean);
  if (!words.length) return "?";
  const letters = words.length === 1 ? words[0].slice(0, 2) : words[0][0] + words.at(-1)[0];
  return letters.toUpperCase();
}

/** One of four quiet tints for a person, always the same one. */
export function tint(name) {
  return ["", "b", "c", "d"][[...name].reduce((sum, letter) => sum + letter.codePointAt(0), 0) % 4];
}
