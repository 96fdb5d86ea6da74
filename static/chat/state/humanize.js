/**
 * How the page says durations, sizes, tools and ends. The mirror of chat/rendering/humanize.py, tested equal on the same cases.
 * Everything that is read by people and made by a script stands in this file.
 */

import { stripMarkdown } from "../lib/strip_markdown.js";

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
  if (ms < 100) return bound(ms >= 1 ? `${ms} ms` : "under 1 ms");
  if (ms < 59950) {
    const tenths = Math.floor((ms + 50) / 100);
    return bound(`${Math.floor(tenths / 10)}.${tenths % 10} s`);
  }
  return minutes(ms);
}

/** A measured time within a sentence: "0.4 s", "31 s", "1 m 12 s". */
export function roughly(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 950) return duration(ms);
  if (ms < 59500) return bound(`${Math.floor((ms + 500) / 1000)} s`);
  return minutes(ms);
}

function minutes(ms) {
  const seconds = Math.floor((ms + 500) / 1000);
  if (seconds < 3600) return bound(`${Math.floor(seconds / 60)} m ${two(seconds % 60)} s`);
  return bound(`${Math.floor(seconds / 3600)} h ${two(Math.floor(seconds / 60) % 60)} m`);
}

/** A time that is still running, in whole seconds: "8 s", "1 m 02 s". */
export function ticking(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return bound(`${seconds} s`);
  return bound(`${Math.floor(seconds / 60)} m ${two(seconds % 60)} s`);
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
  if (length < 1000) return bound(plural(length, "character", "characters"));
  if (length < 999500) return bound(`${Math.floor((length + 500) / 1000)} kB`);
  const tenths = Math.floor((length + 50000) / 100000);
  return bound(`${Math.floor(tenths / 10)}.${tenths % 10} MB`);
}

function plural(number, one, many) {
  return `${number} ${number === 1 ? one : many}`;
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
  if (typeof args.query === "string") return { text: `“${gist(args.query)}”`, code: false };
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
    if (Array.isArray(value)) return plural(value.length, "item", "items");
    if (value !== undefined) return plural(Object.keys(value).length, "field", "fields");
  }
  return gist(text);
}

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
      return times === 1 ? "ran Python" : `ran Python ${times} times`;
    case "fetch_page":
      return `read ${plural(times, "page", "pages")}`;
    case "search_history":
      return "searched past sessions";
    case "current_time":
      return "looked at the clock";
    default:
      return times === 1 ? `used ${name}` : `used ${name} ${times} times`;
  }
}

/** One line for what a run did: "Searched past sessions, read 2 pages". */
export function did(toolNames, thoughts = 0) {
  const times = new Map();
  for (const name of toolNames) times.set(name, (times.get(name) ?? 0) + 1);
  const told = [...times].map(([name, number]) => done(name, number)).join(", ");
  if (!told) return thoughts ? "Thought it through" : "";
  return told[0].toUpperCase() + told.slice(1);
}

export const atWorkLine = "At work";
export const steps = (number) => bound(plural(number, "step", "steps"));
export const tools = (number) => bound(plural(number, "tool", "tools"));
export const failed = (number) => (number ? bound(`${number} failed`) : "");
export const joined = (...parts) => parts.filter(Boolean).join(" · ");
export const thoughtFor = (ms) => (ms === null || ms === undefined ? "Thought" : `Thought for ${roughly(ms)}`);
export const atOnce = (number) => `${number} calls at once`;
export const showing = (shown, whole) => `showing ${size(shown)} of ${size(whole)}`;
export const iterationOf = (number, limit) => (limit ? `Iteration ${number} of ${limit}` : `Iteration ${number}`);

/** Tokens of a run, in two groups that stay whole; an estimate says so. */
export function usage(used) {
  const told = `${count(used.input_tokens)} in`;
  return `${bound(used.estimated ? `about ${told}` : told)} / ${bound(`${count(used.output_tokens)} out`)}`;
}

/** The one status word of a run. */
export function status(name, { using = [], growing = "", begun = true, by = null, limit = 0 } = {}) {
  switch (name) {
    case "queued":
      return "Queued";
    case "running":
      return atWork(using, growing, begun);
    case "cancelling":
      return "Stopping";
    case "completed":
      return "Finished";
    case "cancelled":
      return by ? `Stopped by ${by}` : "Stopped";
    case "failed":
      return "Failed";
    case "interrupted":
      return "Interrupted by restart";
    case "max_iterations":
      return limit ? `Limit of ${limit} reached` : "Limit reached";
    case "gone":
      return "Not available";
    default:
      return "";
  }
}

function atWork(using, growing, begun) {
  if (growing === "thought") return "Thinking";
  if (growing === "final_answer" || growing === "response") return "Answering";
  if (using.length === 1) return `Using ${using[0]}`;
  if (using.length) return `Using ${using.length} tools`;
  return begun ? "Thinking" : "Starting";
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
      return "The model could not be reached.";
    case "model_auth":
      return "The model refused the key.";
    case "model_rate_limited":
      return "The model has had too many requests.";
    case "model_timeout":
      return "The model stopped answering.";
    case "model_cut_off":
      return "The model was cut off.";
    case "model_error":
      return "The model reported an error.";
    case "tool_failed":
      return "A tool failed.";
    case "storage":
      return "A step could not be stored.";
    default:
      return "The run failed.";
  }
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
  if (run.removed) return null;
  switch (run.status) {
    case "failed": {
      const report = run.error?.id ? `Report ${run.error.id.slice(0, 8)}.` : "";
      return {
        tone: "fail",
        icon: "fail",
        title: cause(run.error?.code ?? ""),
        text: [run.error?.message ?? "", report].filter(Boolean).join(" "),
      };
    }
    case "interrupted":
      return { tone: "wait", icon: "warn", title: "Interrupted by a restart.", text: `What was done until then is kept: ${kept}.` };
    case "cancelled":
      return {
        tone: "",
        icon: "cancelled",
        title: "What was written until then is kept.",
        text: "",
      };
    case "max_iterations": {
      const limit = run.limit || run.iteration;
      return {
        tone: "wait",
        icon: "warn",
        title: `All ${limit} iterations are used.`,
        text: `Continue allows ${limit} more.`,
      };
    }
    default:
      return null;
  }
}

/** "Finished · 9 steps · 4 tools · 1 m 12 s · 8.1k in / 1.3k out" */
export function endline(run, counts) {
  if (run.removed) return run.cancelled_by ? `Taken out of the line by ${run.cancelled_by}` : "Taken out of the line";
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
  if (call.result === null) return run.ended ? ["off", "No result"] : ["live", "Running"];
  if (call.result.ok) return ["", ""];
  if (isBroken) return ["fail", "Failed"];
  return ["off", run.status === "cancelled" ? "Cancelled" : "Interrupted"];
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

/** What the connection's chip says: a word, a remark, and the longer sentence behind it. */
export function connection(state) {
  const unsent = state.unsent ? `${state.unsent} unsent` : "";
  switch (state.word) {
    case "live":
      return { label: "Live", sub: unsent || "caught up", tone: "live", more: `Caught up · #${state.seq}, 0 missing.` };
    case "catching_up":
      return {
        label: "Catching up",
        sub: `${state.done} of ${state.total}`,
        tone: "",
        more: "Steps that happened meanwhile are on their way.",
      };
    case "connecting":
      return { label: "Connecting", sub: unsent, tone: "", more: "Opening the live connection." };
    case "waiting":
      return {
        label: state.seconds > 0 ? `Reconnecting in ${state.seconds} s` : "Reconnecting",
        sub: unsent,
        tone: "wait",
        more: "The connection broke. Runs go on, and nothing is lost.",
      };
    case "offline":
      return {
        label: "Offline",
        sub: unsent,
        tone: "fail",
        more: "This device has no network. What you send is kept and goes out once, when it is back.",
      };
    case "polling":
      return {
        label: "Over the API",
        sub: unsent || `checks every ${state.seconds} s`,
        tone: "wait",
        more: "This page asks the server instead of being told. Everything else works.",
      };
    case "logged_out":
      return { label: "Logged out", sub: unsent, tone: "fail", more: "Log in again to go on." };
    case "gone":
      return { label: "Not available", sub: "", tone: "fail", more: "This session is gone, or not yours any more." };
    default:
      return { label: "Not connected", sub: unsent, tone: "", more: "Not connected yet." };
  }
}

/** Sentences of the page's own, for what the server doesn't word. */
export const SENTENCES = Object.freeze({
  blocked: ["Live connection blocked: refreshing over the API.", "Everything works, only a little later."],
  tryLive: "Try live again",
  otherUser: ["Somebody else has logged in.", "What you typed here is kept on this device until you log in again."],
  toTheirs: "Go to their sessions",
  loggedOut: ["You are logged out.", "Your drafts and unsent messages are kept on this device."],
  logIn: "Log in",
  gone: ["This session is not available any more.", "It was deleted, or it is no longer shared with you."],
  toStart: "Start page",
  farTooLong: "This message is too long to be sent at all.",
  choiceNotKept: "The choice holds for this page; it could not be kept with the session.",
  noStep: (number, isElsewhere) =>
    isElsewhere ? `Step ${number} has no row of its own.` : `There is no step ${number} in this session.`,
  noRun: "That run is not on this page.",
  blankTitle: "A title needs at least one letter, digit or sign that can be seen.",
  notArchived: "That could not be changed. Try again.",
  tooMany: ["Too many connections.", "Close some of your other tabs; this one tries again."],
  operators: "From the operators:",
  sending: "Sending",
  notSent: "Not sent yet",
  refused: "Not sent",
  next: "Next",
  waitsForRoom: "Waits for room",
  tooLong: (length, most) => `${length.toLocaleString("en")} characters; at most ${most.toLocaleString("en")} are allowed.`,
  offlineStart: "The server cannot be reached. Your text is kept here.",
  failedRequest: "That did not work. Try again.",
  offlineStop: "Stop could not be sent: the server cannot be reached.",
  copied: "Copied",
  notCopied: "That could not be copied. Select the text and copy it yourself.",
  nothingToCopy: "There is nothing to copy.",
  noNotifications: Object.freeze({
    insecure: "Browsers only do that for pages that are opened over https, or on the server's own machine.",
    unsupported: "This browser cannot do that.",
    denied: "This browser was told not to, for this site. Its settings can allow it again.",
  }),
  newSteps: (number) => `${number} new`,
  stopRequested: (name) => `Requested by ${name}`,
  modelClosed: "Model connection closed",
  toolEnded: (name) => `${name} ended`,
  ending: (name) => `Ending ${name}`,
  wholeFailed: "The whole text could not be fetched.",
  loadingWhole: "Fetching …",
  allLines: (lines) => (lines > 1 ? `Show all ${lines} lines` : "Show the whole line"),
  notSaved: "This browser keeps nothing for this site: a message that is not sent yet is lost on reload.",
  confirmStop: (others) => `${plural(others, "other person watches", "other people watch")} this run. Stop it?`,
  newSession: "New session",
  openRun: "Open",
  openSchedules: "Schedules",
  thinking: "Thinking",
  toolCall: "Tool call",
});
