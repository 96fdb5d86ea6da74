/**
 * The outline of one run: a row for each thought and each turn's calls, the row of the draft, and their bars.
 */

import { clone, findAll, make, setBar, setData, setIcon, setShown, setText, slot } from "../lib/dom.js";
import { duration, icon, markdownGist, thoughtFor, ticking } from "../state/humanize.js";
import { SENTENCES } from "../state/messages.js";
import { bar, callWaitsFor, itemBar, wentOn, wholeMs } from "../state/figures.js";
import { isAnswer } from "./answer.js";
import { fillCalls } from "./call-card.js";
import { createPacedText } from "./paced-text.js";
import { setNumber } from "./row.js";

/** @import { CallCards } from "./call-card.js" */
/** @import { Growth, Item, Run } from "../state/types.js" */

/** How many finished blocks of a growing thought stay in its small window, which shows three lines. */
const RECENT = 4;
/** How many characters of growing arguments their row shows. */
const LAST_CHARACTERS = 120;

/**
 * A painted item: its element, and its state at that time.
 * @typedef {{item: Item, element: HTMLElement, wentOn: boolean|null, ended: boolean}} Row
 */

/**
 * @param {object} from
 * @param {HTMLElement} from.list where the rows go
 * @param {CallCards} from.cards
 * @param {(change: () => void) => void} from.keepEnd see paced-text.js
 * @param {string} [from.number] of a run within another one: the number within which its rows are numbered
 */
export function createOutline({ list, cards, keepEnd, number = "" }) {
  /** @type {Row[]} */
  const rows = [];
  const growing = createGrowingRow({ list, keepEnd, isWithin: number !== "" });
  /** @param {number} index */
  const numberAt = (index) => number && `${number}.${index + 1}`;

  /**
   * Show what is new or has changed. Returns how many rows were added.
   *
   * @param {Run} run
   * @param {number|null} now the server's time, where it is known
   * @param {Item[]} items
   */
  function paint(run, now, items = run.items) {
    let added = 0;
    let hasChanged = false;
    items.forEach((item, index) => {
      const hasGoneOn = wentOn(run, item);
      const row = rows[index];
      if (!row) {
        const element = build(cards, run, item, numberAt(index));
        element.classList.add("arrive");
        list.insertBefore(element, growing.element);
        rows[index] = { item, element, wentOn: hasGoneOn, ended: run.ended };
        added += 1;
        hasChanged = true;
      } else if (row.item !== item || (isUnsettled(item) && (row.wentOn !== hasGoneOn || row.ended !== run.ended))) {
        const element = item.kind === "calls" ? repainted(cards, row.element, run, item, numberAt(index)) : row.element;
        rows[index] = { item, element, wentOn: hasGoneOn, ended: run.ended };
        hasChanged = true;
      }
    });
    if (hasChanged) drawBars(run, now);
    growing.paint(run, now);
    return added;
  }

  /**
   * @param {Run} run
   * @param {number|null} now
   */
  function drawBars(run, now) {
    const total = totalMs(run, now);
    for (const { item, element } of rows) {
      const isLive = item.kind === "calls" && item.calls.some((call) => call.result === null);
      const fill = isLive && item.calls.every((call) => call.result !== null || callWaitsFor(call)) ? "wait" : "live";
      const where = isLive && now !== null ? bar(run, [item.at, now], total, fill) : itemBar(run, item, total);
      setBar(slot(element, "bar"), where);
    }
  }

  return {
    /** Take over the rows that the server has rendered. @param {Run} run @param {Item[]} items */
    adopt(run, items = run.items) {
      rows.push(...adopted({ list, cards }, run, items));
    },
    paint,
    drawBars,
    /** See `placeIn`. @param {string} callId */
    placeOf: (callId) => placeIn(rows, callId, numberAt),
    get isEmpty() {
      return list.firstElementChild === null;
    },
    /**
     * Twice a second while the run is running.
     *
     * @param {Run} run
     * @param {number} now
     * @param {boolean} isOpen whether the rows are in sight
     */
    tick(run, now, isOpen) {
      growing.tick(run, now);
      if (!isOpen) return;
      drawBars(run, now);
      const last = rows.at(-1);
      if (last?.item.kind === "calls") tickCalls(cards, last, now);
    },
  };
}

/**
 * The rows that the server has rendered: only the last ones, if it has left earlier ones out of the state.
 *
 * @param {{list: HTMLElement, cards: CallCards}} from
 * @param {Run} run
 * @param {Item[]} items
 * @returns {Row[]}
 */
function adopted({ list, cards }, run, items) {
  const elements = items.length ? /** @type {HTMLElement[]} */ ([...list.children].slice(-items.length)) : [];
  return elements.map((element, index) => {
    const item = items[index];
    // Rows of the runs within it come after its own.
    const own = findAll(element, "[data-call]").slice(0, item.calls.length);
    own.forEach((card, place) => cards.adopt(card, run, item.calls[place] ?? null));
    return { item, element, wentOn: null, ended: run.ended };
  });
}

/**
 * Where a run that was started by a call goes, and the number of the step that contains it; null if there is no such call.
 *
 * @param {Row[]} rows
 * @param {string} callId
 * @param {(index: number) => string} numberAt
 */
function placeIn(rows, callId, numberAt) {
  const index = rows.findIndex(({ item }) => item.calls.some((call) => call.call_id === callId));
  if (index < 0) return null;
  const { item, element } = rows[index];
  const call = item.calls.find(({ call_id: id }) => id === callId);
  return { place: slot(element, "children"), number: numberAt(index) || String(call?.seq ?? call?.step ?? "") };
}

/**
 * Show how long the calls of a row have been running.
 *
 * @param {CallCards} cards
 * @param {Row} row
 * @param {number} now
 */
function tickCalls(cards, { item, element }, now) {
  const waiting = item.calls.filter((call) => call.result === null);
  for (const call of waiting) cards.tick(call, now);
  if (waiting.length && item.calls.length > 1) setText(slot(element, "dur"), ticking((now - item.at) * 1000));
}

/**
 * The row of a thought, or of a turn's calls.
 *
 * @param {CallCards} cards
 * @param {Run} run
 * @param {Item} item
 * @param {string} number that it shows; empty: that of its event
 */
function build(cards, run, item, number) {
  const element = clone(item.kind !== "calls" ? "thought" : item.calls.length > 1 ? "calls" : "call");
  setNumber(element, item.seq, number);
  if (item.kind !== "calls") fillThought(element, item);
  else fillCalls(cards, element, run, item);
  return element;
}

/**
 * The updated row of calls: a new element when a second call has joined the first.
 *
 * @param {CallCards} cards
 * @param {HTMLElement} element
 * @param {Run} run
 * @param {Item} item
 * @param {string} number
 */
function repainted(cards, element, run, item, number) {
  const isPair = element.dataset.item === "calls";
  if (isPair === item.calls.length > 1) {
    fillCalls(cards, element, run, item);
    return element;
  }
  const fresh = build(cards, run, item, number);
  // The runs within it stay unchanged.
  slot(fresh, "children").replaceWith(/** @type {HTMLElement} */ (slot(element, "children")));
  element.replaceWith(fresh);
  return fresh;
}

/**
 * The row of the step that is being written.
 *
 * @param {object} from
 * @param {HTMLElement} from.list
 * @param {(change: () => void) => void} from.keepEnd
 * @param {boolean} from.isWithin whether an answer is a row too
 */
function createGrowingRow({ list, keepEnd, isWithin }) {
  /** @type {{element: HTMLElement, step: number, text: ReturnType<typeof createPacedText>}|null} */
  let shown = null;

  /** @param {Growth} growth */
  function open(growth) {
    const element = clone("growing");
    const text = createPacedText({
      prose: slot(element, "text"),
      keepEnd,
      onBlocks(blocks) {
        for (const node of blocks.splice(0, blocks.length - RECENT)) node.remove();
      },
    });
    element.classList.add("arrive");
    list.append(element);
    return { element, step: growth.step, text };
  }

  function close() {
    shown?.text.stop();
    shown?.element.remove();
    shown = null;
  }

  /**
   * @param {Run} run
   * @param {number|null} now
   */
  function tick(run, now) {
    if (shown === null) return;
    const since = lastMoment(run);
    setText(slot(shown.element, "dur"), now === null ? "" : ticking((now - since) * 1000));
    setBar(slot(shown.element, "bar"), now === null ? null : bar(run, [since, now], totalMs(run, now), "live"));
  }

  return {
    get element() {
      return shown?.element ?? null;
    },
    tick,
    /**
     * @param {Run} run
     * @param {number|null} now
     */
    paint(run, now) {
      const growth = isAnswer(run.growth) && !isWithin ? null : run.growth;
      if (growth === null || shown?.step !== growth.step) close();
      if (growth === null) return;
      shown ??= open(growth);
      const { element, text } = shown;
      const isTool = growth.type === "tool_use" || growth.type === "tool_result";
      setData(element, "kind", isTool ? "tool" : "");
      setIcon(slot(element, "icon"), isTool ? icon(growth.tool_name) : "thought");
      const name = slot(element, "name");
      const doing = isAnswer(growth) ? SENTENCES.answering : SENTENCES.thinking;
      setText(name, isTool ? growth.tool_name || SENTENCES.toolCall : doing);
      name.classList.toggle("t-live", !isTool);
      setShown(slot(element, "state"), isTool);
      setShown(slot(element, "window"), !isTool);
      if (isTool) setText(slot(element, "arg"), growth.text.slice(-LAST_CHARACTERS).replace(/^[\udc00-\udfff]/u, ""));
      else text.write(growth.text);
      tick(run, now);
    },
  };
}

/**
 * @param {HTMLElement} element
 * @param {Item} item
 */
function fillThought(element, item) {
  const isWord = item.kind === "word";
  if (isWord) {
    element.dataset.item = "word";
    setIcon(slot(element, "icon"), "user");
  }
  const title = item.isAnswer ? SENTENCES.answer : thoughtFor(item.duration_ms);
  setText(slot(element, "name"), isWord ? SENTENCES.wordRead(item.by, item.seq) : title);
  setText(slot(element, "arg"), markdownGist(item.text));
  setText(slot(element, "dur"), duration(item.duration_ms));
  const text = slot(element, "text");
  const written = make("p", item.text, "unrendered");
  written.dir = "auto";
  text.replaceChildren(written);
  if (item.partial) text.after(clone("stopped"));
}

/**
 * Whether later events can still change how an item is shown.
 *
 * @param {Item} item
 */
function isUnsettled(item) {
  return item.calls.some((call) => call.result === null || !call.result.ok);
}

/**
 * When the run's last finished step ended, in the server's seconds: the draft began then.
 *
 * @param {Run} run
 */
function lastMoment(run) {
  let latest = run.started_at ?? 0;
  for (const item of run.items.slice(-3)) {
    latest = Math.max(latest, item.at);
    for (const call of item.calls) latest = Math.max(latest, call.at, call.result?.at ?? 0);
  }
  return latest;
}

/**
 * How long the run has taken so far, in milliseconds; 0 if unknown.
 *
 * @param {Run} run
 * @param {number|null} now
 */
function totalMs(run, now) {
  const whole = wholeMs(run);
  if (whole !== null) return whole;
  return now === null || run.started_at === null ? 0 : (now - run.started_at) * 1000;
}
