/**
 * What the page says about requests and decisions within a run: as chat/rendering/decisions.py does; a test compares the two.
 */

import { gettext, pgettext } from "../lib/gettext.js";
import { asJson, joinList } from "./humanize.js";

/** @import { Decision, Request } from "./types.js" */

/**
 * Whose question led to this request.
 * @param {string} name
 * @param {boolean} isQuestion
 */
export function requestLine(name, isQuestion) {
  if (isQuestion) return name ? gettext("%(name)s's agent asks:", { name }) : gettext("The agent asks:");
  return name
    ? gettext("%(name)s's agent wants to make this call. A rule wants somebody to decide.", { name })
    : gettext("The agent wants to make this call. A rule wants somebody to decide.");
}

/**
 * What happens if nobody decides.
 * @param {Request} request
 * @param {string} time how long from now; empty for no more than what
 */
export function byItself({ deadline, fields, unanswered }, time) {
  if (deadline === null) return "";
  if (fields !== null) return time ? gettext("Goes on without an answer in %(time)s", { time }) : gettext("Goes on without an answer");
  if (unanswered === "stop") return time ? gettext("Stops by itself in %(time)s", { time }) : gettext("Stops by itself");
  return time ? gettext("Denied by itself in %(time)s", { time }) : gettext("Denied by itself");
}

/**
 * Who has decided, and what.
 * @param {Decision} decision
 * @param {boolean} isQuestion
 */
export function decisionLine({ decision, user: name, scope }, isQuestion) {
  if (decision === "answer" && name) return gettext("Answered by %(name)s", { name });
  if (decision === "allow") {
    if (name === null) return gettext("Allowed");
    return scope === "session" ? gettext("Allowed for this session by %(name)s", { name }) : gettext("Allowed by %(name)s", { name });
  }
  if (decision === "deny" && name) return gettext("Denied by %(name)s", { name });
  return isQuestion ? gettext("Nobody answered in time") : gettext("Denied by itself: nobody decided in time");
}

/**
 * The arguments that a person has changed: the name of each, with its old and new value; empty if it is missing.
 * @param {any} before
 * @param {any} after
 * @returns {{name: string, before: string, after: string}[]}
 */
export function argumentChanges(before, after) {
  if (after === null) return [];
  if (!isObject(before) || !isObject(after)) {
    const [old, fresh] = [words(before), words(after)];
    return old === fresh ? [] : [{ name: "", before: old, after: fresh }];
  }
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  /** @param {Record<string, any>} of @param {string} name */
  const wordsOf = (of, name) => (Object.hasOwn(of, name) ? words(of[name]) : "");
  return [...names].map((name) => ({ name, before: wordsOf(before, name), after: wordsOf(after, name) })).filter((row) => row.before !== row.after);
}

/** @param {any} value */
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** @param {any} value @returns {string} */
const words = (value) => (typeof value === "string" ? value : asJson(value));

/**
 * The answers, each with its question.
 * @param {Request|null} request
 * @param {Decision|null} decision
 * @returns {[string, string][]}
 */
export function answerPairs(request, decision) {
  const labels = new Map((request?.fields ?? []).map(({ name, label }) => [name, label || name]));
  return Object.entries(decision?.answers ?? {}).map(([name, value]) => [labels.get(name) ?? name, answer(value)]);
}

/** @param {any} value */
function answer(value) {
  if (typeof value === "boolean") return value ? pgettext("an answer", "Yes") : pgettext("an answer", "No");
  if (value === null || value === "" || (Array.isArray(value) && !value.length)) return "–";
  return Array.isArray(value) ? joinList(value.map(words)) : words(value);
}
