/**
 * The part of a call's card in which people are asked, and which shows their decision.
 */

import { find, make, setShown, setText, slot } from "../lib/dom.js";
import { answerPairs, argumentChanges, byItself, decisionLine, requestLine } from "../state/decisions.js";
import { isWaiting } from "../state/figures.js";
import { clock } from "../state/humanize.js";
import { pathTo } from "../transport/addresses.js";
import { dropForm, loadForm } from "./decision-form.js";

/** @import { Call, Run } from "../state/types.js" */

/**
 * @param {HTMLElement} part
 * @param {Run} run
 * @param {Call} call
 */
export function fillDecision(part, run, call) {
  const { request, decision } = call;
  const isQuestion = Boolean(request?.fields);
  const waits = isWaiting(call) && !run.ended;
  setShown(part, request !== null || decision !== null);
  setShown(slot(part, "ask"), waits);
  setText(slot(part, "why"), waits ? requestLine(run.user, isQuestion) : "");
  setShown(slot(part, "why"), waits);
  setText(slot(part, "asks"), request?.text ?? "");
  setShown(slot(part, "asks"), Boolean(request?.text));
  fillDeadline(part, call, null);
  setShown(slot(part, "decided"), decision !== null);
  setText(slot(part, "said"), decision ? decisionLine(decision, isQuestion) : "");
  /** @type {HTMLTimeElement} */
  const at = slot(part, "said-at");
  if (decision) fillTime(at, decision.at);
  setText(slot(part, "reason"), decision?.reason ?? "");
  setShown(slot(part, "reason"), Boolean(decision?.reason));
  fillPairs(slot(part, "answers"), answerPairs(request, decision).flatMap(([label, words]) => [make("dt", label), make("dd", words)]));
  fillPairs(slot(part, "changes"), decision && call.arguments !== null ? argumentChanges(call.arguments, decision.arguments).flatMap(changed) : []);
  const place = slot(part, "form");
  if (waits && "mayDecide" in part.dataset) {
    /** @type {HTMLAnchorElement} */
    const link = slot(part, "decide");
    // Asking the link itself would depend on whether the card is in the page yet.
    const address = new URL(pathTo(`runs/${run.id}/decide/?call=${encodeURIComponent(call.call_id)}`), location.href).href;
    link.href = address;
    loadForm(place, link, address);
  } else dropForm(place);
}

/**
 * Once a second: how long it is until the deadline decides.
 *
 * @param {HTMLElement} part
 * @param {Call} call
 * @param {number} now the server's time
 */
export function tickDecision(part, call, now) {
  fillDeadline(part, call, now);
}

/**
 * @param {HTMLElement} part
 * @param {Call} call
 * @param {number|null} now
 */
function fillDeadline(part, { request }, now) {
  const place = slot(part, "deadline");
  const isKnown = request !== null && request.deadline !== null;
  setShown(place, isKnown);
  if (!isKnown || request.deadline === null) return;
  if (now !== null) setText(place, byItself(request, clock(Math.max(0, request.deadline - now) * 1000)));
  else if (!find(place, "time")) setText(place, byItself(request, ""));
}

/**
 * @param {HTMLTimeElement} element
 * @param {number} at
 */
function fillTime(element, at) {
  const when = new Date(at * 1000);
  element.dateTime = when.toISOString();
  setText(element, when.toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }));
}

/**
 * @param {HTMLElement} list
 * @param {HTMLElement[]} pairs
 */
function fillPairs(list, pairs) {
  list.replaceChildren(...pairs);
  setShown(list, pairs.length > 0);
}

/** @param {{name: string, before: string, after: string}} change */
function changed({ name, before, after }) {
  const value = make("dd");
  value.append(make("del", before), " ", make("ins", after));
  return [make("dt", name), value];
}
