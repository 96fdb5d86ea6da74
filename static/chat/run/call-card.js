/**
 * Tool calls: the row of one, the row of several at once, and the card of each with its arguments and result.
 */

import { clone, find, setData, setIcon, setShown, setText, slot } from "../lib/dom.js";
import { atOnce, duration, failed, icon, summarizeArguments, summarizeResult, ticking } from "../state/humanize.js";
import { callState } from "../state/run-status.js";
import { broken, isWaiting, span, wentOn } from "../state/figures.js";
import { fillDecision, tickDecision } from "./decision.js";
import { enhanceCard, fillArguments, fillResult } from "./result.js";

/** @import { Call, Item, Run } from "../state/types.js" */
/** @import { Choices } from "../view/choices.js" */

/** How many characters of a failed call's result its row shows. */
const CAUSE = 400;

/** What is inside a card: the call it shows, and which of its parts are filled. @typedef {{call: Call|null, args: boolean, result: boolean, people: boolean}} Inside */

/** @typedef {ReturnType<typeof createCallCards>} CallCards */

/**
 * Update a row of calls.
 *
 * @param {CallCards} cards
 * @param {HTMLElement} element
 * @param {Run} run
 * @param {Item} item
 */
export function fillCalls(cards, element, run, item) {
  if (element.dataset.item === "call") fillOne(cards, element, run, item);
  else fillSeveral(cards, element, run, item);
}

/** @type {typeof fillCalls} */
function fillOne(cards, element, run, item) {
  const [call] = item.calls;
  const state = cards.fill(find(element, ".tool"), run, item, call);
  setData(element, "state", state);
  setIcon(slot(element, "icon"), icon(call.name));
  const isTold = (state === "fail" || state === "off") && call.decision?.decision !== "deny";
  const cause = isTold ? (call.result?.content ?? "").trim().slice(0, CAUSE) : "";
  setShown(slot(element, "err"), cause !== "");
  setText(slot(element, "cause"), cause);
  setShown(slot(element, "from"), state === "fail");
  setShown(slot(element, "after"), state === "fail" && wentOn(run, item));
}

/** @type {typeof fillCalls} */
function fillSeveral(cards, element, run, item) {
  const pair = slot(element, "pair");
  const states = item.calls.map((call, index) => {
    const mini = /** @type {HTMLElement} */ (pair.children[index] ?? pair.appendChild(clone("mini")));
    const state = cards.fill(mini, run, item, call);
    setData(mini, "state", state);
    // The first call's number is the row's own.
    if (call.seq !== null && call.seq !== item.seq) mini.id = `s${call.seq}`;
    setIcon(slot(mini, "icon"), icon(call.name));
    setText(slot(mini, "seqs"), call.seq && call.result?.seq ? `${call.seq} → ${call.result.seq}` : "");
    if (call.result && !call.result.ok && call.result.content) setText(slot(mini, "out"), call.result.content.trim().slice(0, CAUSE));
    return state;
  });
  setData(element, "state", ["wait", "live", "fail", "off"].find((state) => states.includes(state)));
  setText(slot(element, "name"), atOnce(item.calls.length));
  setWord(element, failed(states.filter((state) => state === "fail").length));
  const took = span(item);
  setText(slot(element, "dur"), took === null ? "" : duration(Math.round((took[1] - took[0]) * 1000)));
}

/**
 * The cards of one run.
 *
 * @param {object} from
 * @param {(seq: number) => string} from.contentUrl where the whole of a long result lies
 * @param {Choices} from.choices
 */
export function createCallCards({ contentUrl, choices }) {
  /** @type {Map<HTMLElement, Inside>} */
  const cards = new Map();

  /**
   * Update the line and the inside of one call; returns its state: `live`, `fail`, `off`, or empty if it succeeded.
   *
   * @param {HTMLElement} card
   * @param {Run} run
   * @param {Item} item
   * @param {Call} call
   * @returns {string}
   */
  function fill(card, run, item, call) {
    const [state, word] = callState(run, call, broken(run, item, call));
    const inside = cards.get(card);
    card.dataset.call = call.call_id;
    setData(card, "result", call.result?.seq ? String(call.result.seq) : "");
    fillLine(card, call, word, inside?.call?.result ?? null);
    cards.set(card, kept(inside, call));
    if (card instanceof HTMLDetailsElement) {
      const isNew = inside === undefined && card.classList.contains("tool");
      // What people are asked for is always visible.
      if (state === "wait" && !inside?.call?.request) card.open = true;
      else if (isNew) card.open = choices.step(call.seq) ?? (!run.ended && typeof call.arguments?.code === "string");
      if (card.open) fillInside(card);
    }
    if (!cards.get(card)?.people) fillPeople(card, run, call);
    return state;
  }

  /**
   * What people are asked about a call, and what they have decided.
   *
   * @param {HTMLElement} card
   * @param {Run} run
   * @param {Call} call
   */
  function fillPeople(card, run, call) {
    fillDecision(find(card, '[data-part="decision"]'), run, call);
    const inside = cards.get(card);
    if (inside) inside.people = true;
  }

  /**
   * Fill a card's parts if it is open.
   *
   * @param {HTMLElement} card
   */
  function fillInside(card) {
    const inside = cards.get(card);
    if (inside?.call) {
      if (!inside.args) fillArguments(card, inside.call.arguments);
      if (!inside.result) fillResult(card, inside.call.result, contentUrl);
      inside.args = inside.result = true;
    }
    enhanceCard(card);
  }

  return {
    fill,
    fillInside,
    /**
     * Take over a card that the server has filled. The part for people is filled again: the server's has another form.
     *
     * @param {HTMLElement} card
     * @param {Run} run
     * @param {Call|null} call
     */
    adopt(card, run, call) {
      cards.set(card, { call, args: true, result: true, people: true });
      if (call && isWaiting(call)) fillPeople(card, run, call);
    },
    /**
     * Show how long a call has been running, or has waited.
     *
     * @param {Call} call
     * @param {number} now the server's time
     */
    tick(call, now) {
      const card = [...cards].find(([, inside]) => inside.call === call)?.[0];
      if (!card) return;
      setText(slot(card, "dur"), ticking((now - call.at) * 1000));
      if (isWaiting(call)) tickDecision(find(card, '[data-part="decision"]'), call, now);
    },
    /** The code was opened by the page while the call was running; at the run's end it is closed, unless the reader has chosen. */
    fold() {
      for (const [card, { call }] of cards) {
        if (call && choices.step(call.seq) === undefined && card instanceof HTMLDetailsElement) card.open = false;
      }
    },
  };
}

/**
 * Which parts of an open card are still up to date for a call.
 *
 * @param {Inside|undefined} inside
 * @param {Call} call
 * @returns {Inside}
 */
function kept(inside, call) {
  const before = inside?.call;
  if (!inside || !before) return { call, args: call.arguments === null, result: false, people: false };
  return {
    call,
    // What the server has rendered, and left out of the state, is there already.
    args: call.arguments === null || (inside.args && before.arguments === call.arguments),
    result: inside.result && before.result === call.result,
    people: inside.people && before.request === call.request && before.decision === call.decision,
  };
}

/**
 * The one line of a call.
 *
 * @param {HTMLElement} card
 * @param {Call} call
 * @param {string} word
 * @param {Call["result"]} before the result that the line shows already
 */
function fillLine(card, call, word, before) {
  setText(slot(card, "name"), call.name);
  if (call.arguments !== null) {
    const { text, code } = summarizeArguments(call.arguments);
    const arg = slot(card, "arg");
    setText(arg, text);
    if (!card.classList.contains("mini")) arg.classList.toggle("mono", code);
  }
  if (call.result?.ok && call.result !== before) setText(slot(card, "out"), summarizeResult(call.result.content));
  setWord(card, word);
  setText(slot(card, "dur"), call.result ? duration(call.result.duration_ms) : "");
}

/**
 * @param {HTMLElement} row
 * @param {string} word
 */
function setWord(row, word) {
  setText(slot(row, "state"), word);
  setShown(slot(row, "state"), word !== "");
}

/**
 * The text that is copied from a part of a card.
 *
 * @param {HTMLElement} part
 * @returns {string}
 */
export function textOfPart(part) {
  const shown = part.querySelector('pre.code:not([hidden]), pre.code[data-slot="content"]');
  if (shown?.textContent) return shown.textContent;
  return [...part.querySelectorAll("dt")].map((term) => `${term.textContent}: ${term.nextElementSibling?.textContent}`).join("\n");
}
