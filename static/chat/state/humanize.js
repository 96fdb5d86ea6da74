/**
 * How the page formats durations, sizes and tools: as chat/rendering/humanize.py does, with the same sentences, so that both have one
 * translation; a test compares the two. The states of runs are in run-status.js, the scripts' other sentences in messages.js.
 */

import { gettext, ngettext, pgettext } from "../lib/gettext.js";
import { stripMarkdown } from "../lib/strip-markdown.js";

/** @import { Usage } from "./types.js" */

/** @typedef {number|null|undefined} Milliseconds */

const GIST = 160;
/** How many characters of a Markdown text are read for it: some of them may be marks. */
const GIST_OF = 600;
/** About how many characters of a question are on one line, and from how many lines on it is folded. */
const LINE = 80;
const LINES = 12;

/**
 * A number and its unit with a no-break space: "5 s" is never broken.
 * @param {string} figure
 */
function nbsp(figure) {
  return figure.replaceAll(" ", "\u00a0");
}

/**
 * A measured time, as a row shows it: "7 ms", "0.4 s", "30.2 s", "2 m 03 s". Unknown is empty.
 * @param {Milliseconds} ms
 */
export function duration(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 100) return nbsp(ms >= 1 ? gettext("%(n)s ms", { n: ms }) : gettext("under 1 ms"));
  if (ms < 59950) {
    const tenths = Math.floor((ms + 50) / 100);
    return inSeconds(`${Math.floor(tenths / 10)}.${tenths % 10}`);
  }
  return minutes(ms);
}

/**
 * A measured time within a sentence: "0.4 s", "31 s", "1 m 12 s".
 * @param {Milliseconds} ms
 */
export function approxDuration(ms) {
  if (ms === null || ms === undefined) return "";
  if (ms < 950) return duration(ms);
  if (ms < 59500) return inSeconds(Math.floor((ms + 500) / 1000));
  return minutes(ms);
}

/** @param {number} ms */
function minutes(ms) {
  const seconds = Math.floor((ms + 500) / 1000);
  if (seconds < 3600) return inMinutes(seconds);
  return nbsp(gettext("%(h)s h %(m)s m", { h: Math.floor(seconds / 3600), m: two(Math.floor(seconds / 60) % 60) }));
}

/** @param {number} seconds */
function inMinutes(seconds) {
  return nbsp(gettext("%(m)s m %(s)s s", { m: Math.floor(seconds / 60), s: two(seconds % 60) }));
}

/** @param {number|string} number */
function inSeconds(number) {
  return nbsp(gettext("%(n)s s", { n: number }));
}

/**
 * A time that is still running, in whole seconds: "8 s", "1 m 02 s".
 * @param {number} ms
 */
export function ticking(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return seconds < 60 ? inSeconds(seconds) : inMinutes(seconds);
}

/**
 * A running clock: "1:11", "1:02:03".
 * @param {number} ms
 */
export function clock(ms) {
  const seconds = Math.floor(Math.max(0, ms) / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

/** @param {number} number */
function two(number) {
  return String(number).padStart(2, "0");
}

/**
 * A number of tokens: "208", "8.1k", "1.2M".
 * @param {number} number
 */
export function count(number) {
  if (number < 1000) return String(number);
  if (number < 999950) {
    const tenths = Math.floor((number + 50) / 100);
    return `${Math.floor(tenths / 10)}.${tenths % 10}k`;
  }
  const tenths = Math.floor((number + 50000) / 100000);
  return `${Math.floor(tenths / 10)}.${tenths % 10}M`;
}

/**
 * The length of a text: "412 characters", "48 kB", "1.2 MB".
 * @param {number} length
 */
export function size(length) {
  if (length < 1000) return nbsp(ngettext("%(n)d character", "%(n)d characters", length));
  if (length < 999500) return nbsp(gettext("%(n)s kB", { n: Math.floor((length + 500) / 1000) }));
  const tenths = Math.floor((length + 50000) / 100000);
  return nbsp(gettext("%(n)s MB", { n: `${Math.floor(tenths / 10)}.${tenths % 10}` }));
}

/**
 * The size of a file: `412 bytes`, `48 kB`, `1.2 MB`.
 * @param {number} number
 */
export function fileSize(number) {
  return number >= 1000 ? size(number) : nbsp(ngettext("%(n)d byte", "%(n)d bytes", number));
}

/**
 * The beginning of a text on one line.
 * @param {string} text
 */
export function firstLine(text) {
  const line = text.slice(0, 400).split(/\s+/u).filter(Boolean).join(" ");
  return line.length <= GIST ? line : Array.from(line).slice(0, GIST).join("");
}

/**
 * The beginning of a model's Markdown on one line, without its marks.
 * @param {string} text
 */
export function markdownGist(text) {
  return firstLine(stripMarkdown(Array.from(text.slice(0, 2 * GIST_OF)).slice(0, GIST_OF).join("")));
}

const SEEN = /[^\p{Z}\p{Cc}\p{Cf}\p{Cs}\p{Mn}\p{Me}\u115f\u1160\u2800\u3164\uffa0]/u;

/**
 * Whether nothing of a text can be seen.
 * @param {string} text
 */
export function isBlank(text) {
  return !SEEN.test(text);
}

/**
 * Whether a question is folded to its first lines: determined by its text alone, so that server and page agree.
 * @param {string} message
 */
export function isLong(message) {
  return message.split("\n").reduce((lines, line) => lines + Math.max(1, Math.ceil(line.length / LINE)), 0) > LINES;
}

/**
 * The most informative argument of a call, and whether it is code.
 * @param {unknown} args
 * @returns {{ text: string, code: boolean }}
 */
export function summarizeArguments(args) {
  if (args === null || typeof args !== "object" || Array.isArray(args)) {
    return { text: firstLine(plain(args)), code: true };
  }
  const { query, url, code } = /** @type {Record<string, unknown>} */ (args);
  if (typeof query === "string") return { text: gettext("“%(text)s”", { text: firstLine(query) }), code: false };
  if (typeof url === "string") return { text: firstLine(url).replace(/^https?:\/\//u, ""), code: false };
  if (typeof code === "string") return summarizeCode(code);
  const values = Object.values(args).filter((value) => ["string", "number", "boolean"].includes(typeof value));
  return { text: firstLine(values.slice(0, 2).map(plain).join(", ")), code: false };
}

/** @param {string} code */
function summarizeCode(code) {
  const lines = code.split(/\r\n|\r|\n/u).map((line) => line.trim()).filter(Boolean);
  let isOpen = false;
  const first =
    lines.find((line) => {
      if (!isOpen && !/^(?:import|from) /u.test(line)) return true;
      // An import in brackets continues over several lines.
      isOpen = (isOpen || line.includes("(")) && !line.includes(")");
      return false;
    }) ?? lines[0] ?? "";
  const comment = first.startsWith("#") ? first.replace(/^[# ]+|[# ]+$/gu, "") : "";
  return comment ? { text: firstLine(comment), code: false } : { text: firstLine(first), code: true };
}

/** @param {unknown} value */
function plain(value) {
  return typeof value === "string" ? value : JSON.stringify(value ?? null);
}

/**
 * A value as JSON: plain values on one line, others indented.
 * @param {unknown} value
 */
export function asJson(value) {
  return JSON.stringify(value ?? null, null, value !== null && typeof value === "object" ? 2 : 0);
}

/**
 * A call's result in a few words.
 * @param {string} content
 */
export function summarizeResult(content) {
  const text = content.trim();
  if ((text[0] === "[" || text[0] === "{") && text.length <= 2000) {
    const value = parsed(text);
    if (Array.isArray(value)) return ngettext("%(n)d item", "%(n)d items", value.length);
    if (typeof value === "object" && value !== null) return fields(Object.keys(value).length);
  }
  return firstLine(text);
}

/** @param {number} number */
const fields = (number) => ngettext("%(n)d field", "%(n)d fields", number);

/**
 * @param {string} text
 * @returns {unknown}
 */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @type {Readonly<Record<string, string>>} */
const ICONS = Object.freeze({
  python: "python",
  fetch_page: "globe",
  search_history: "history",
  current_time: "clock",
  read_file: "file",
  search_file: "search",
});

/**
 * The sprite's symbol for a tool.
 * @param {string} toolName
 */
export function icon(toolName) {
  return ICONS[toolName] ?? "tool";
}

/**
 * @param {string} name
 * @param {number} times
 */
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
    case "read_file":
      return gettext("read in files");
    case "search_file":
      return gettext("searched files");
    default:
      return times === 1
        ? gettext("used %(tool)s", { tool: name })
        : ngettext("used %(tool)s %(n)d time", "used %(tool)s %(n)d times", times, { tool: name });
  }
}

/**
 * What a run did, in one line: "Searched past sessions, read 2 pages".
 * @param {string[]} toolNames
 * @param {number} thoughts
 */
export function summarizeTools(toolNames, thoughts = 0) {
  /** @type {Map<string, number>} */
  const times = new Map();
  for (const name of toolNames) times.set(name, (times.get(name) ?? 0) + 1);
  const listed = joinList([...times].map(([name, number]) => done(name, number)));
  if (!listed) return thoughts ? gettext("Thought it through") : "";
  return listed[0].toUpperCase() + listed.slice(1);
}

/**
 * Join the parts of a list in a sentence.
 * @param {string[]} parts
 */
export const joinList = (parts) => parts.join(pgettext("between the parts of a list", ", "));

/**
 * How long a run has waited for people; empty if it has not.
 * @param {Milliseconds} ms
 */
export const waited = (ms) => (ms ? nbsp(gettext("waited %(time)s", { time: approxDuration(ms) })) : "");

export const atWorkLine = gettext("Working");
/** @param {number} number */
export const steps = (number) => nbsp(ngettext("%(n)d step", "%(n)d steps", number));
/** @param {number} number */
export const tools = (number) => nbsp(ngettext("%(n)d tool", "%(n)d tools", number));
/** @param {number} number */
export const failed = (number) => (number ? nbsp(ngettext("%(n)d failed", "%(n)d failed", number)) : "");
/** @param {(string|null|undefined)[]} parts */
export const joined = (...parts) => parts.filter(Boolean).join(" · ");
/** @param {Milliseconds} ms */
export const thoughtFor = (ms) => 
  ms === null || ms === undefined ? gettext("Thought") : gettext("Thought for %(time)s", { time: approxDuration(ms) });
/** @param {number} number */
export const atOnce = (number) => ngettext("%(n)d call at once", "%(n)d calls at once", number);
/**
 * @param {number} shown
 * @param {number} whole
 */
export const showing = (shown, whole) =>
  gettext("showing %(shown)s of %(whole)s", { shown: size(shown), whole: size(whole) });
/**
 * @param {number} number
 * @param {number} limit
 */
export const iterationOf = (number, limit) =>
  limit ? gettext("Iteration %(n)s of %(limit)s", { n: number, limit }) : gettext("Iteration %(n)s", { n: number });

/**
 * Tokens of a run, in two groups that stay whole; an estimate says so.
 * @param {Usage} used
 */
export function usage(used) {
  const exact = gettext("%(input)s in / %(output)s out", { input: count(used.input_tokens), output: count(used.output_tokens) });
  const text = used.estimated ? gettext("about %(usage)s", { usage: exact }) : exact;
  return text.split(" / ").map(nbsp).join(" / ");
}

/**
 * How much of the model's context the conversation uses.
 * @param {{used: number, limit: number}} context
 */
export function contextUse({ used, limit }) {
  return nbsp(gettext("Context %(share)s%%", { share: String(Math.min(100, Math.ceil((used * 100) / limit))) }));
}

/**
 * How much of the tightest budget is used.
 * @param {{used: number, limit: number}} budget
 */
export function budgetUse({ used, limit }) {
  return nbsp(gettext("Budget %(share)s%%", { share: String(Math.min(100, Math.floor((used * 100) / limit))) }));
}

/**
 * A user's initials.
 * @param {string} name
 */
export function initials(name) {
  const words = name.split(/[\s._\-@]+/u).filter(Boolean);
  if (!words.length) return "?";
  const [first, last] = [Array.from(words[0]), Array.from(words.at(-1) ?? "")];
  return (words.length === 1 ? first.slice(0, 2).join("") : first[0] + last[0]).toUpperCase();
}

/**
 * One of four tints for a user, always the same one.
 * @param {string} name
 */
export function tint(name) {
  return ["", "b", "c", "d"][[...name].reduce((sum, letter) => sum + (letter.codePointAt(0) ?? 0), 0) % 4];
}

/**
 * What a client that keeps the conversation itself has sent with a message.
 *
 * @param {import("../protocol.js").SentAlongData} along
 */
export function sentAlong({ messages, instructions }) {
  if (!messages) return gettext("The client has sent instructions along");
  if (!instructions) {
    return ngettext("The client has sent %(n)d earlier message along", "The client has sent %(n)d earlier messages along", messages);
  }
  return ngettext(
    "The client has sent instructions and %(n)d earlier message along",
    "The client has sent instructions and %(n)d earlier messages along",
    messages,
  );
}
