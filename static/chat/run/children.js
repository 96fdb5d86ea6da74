/**
 * The runs within a run: each with a small outline in the row of the call that started it.
 */

import { clone, find, setData, setText, slot } from "../lib/dom.js";
import { duration, joined, ticking } from "../state/humanize.js";
import { status } from "../state/run-status.js";
import { using, waitedMs, waitsFor } from "../state/figures.js";
import { createCallCards } from "./call-card.js";
import { createOutline } from "./outline.js";

/** @import { Item, Run } from "../state/types.js" */
/** @import { Choices } from "../view/choices.js" */

/** @typedef {{ place: HTMLElement, number: string }} Place */

/**
 * @param {object} from
 * @param {(seq: number) => string} from.contentUrl where the whole of a long result lies
 * @param {(change: () => void) => void} from.keepEnd see paced-text.js
 * @param {Choices} from.choices
 * @param {(name: string) => string} from.agentTitle
 */
export function createChildren({ contentUrl, keepEnd, choices, agentTitle }) {
  /** @type {Map<string, ReturnType<typeof createChild>>} */
  const children = new Map();

  return {
    /**
     * Where a run goes that was started within one of these; null if its place is not shown.
     *
     * @param {string} id
     * @param {string} callId
     */
    placeOf: (id, callId) => children.get(id)?.placeOf(callId) ?? null,
    /**
     * @param {Run} run
     * @param {Place} at
     * @param {number|null} now the server's time, where it is known
     */
    paint(run, at, now) {
      let child = children.get(run.id);
      if (!child) {
        child = createChild({ run, at, contentUrl, keepEnd, choices, agentTitle });
        children.set(run.id, child);
      }
      child.paint(run, now);
    },
    /** @param {HTMLElement} card a call's card in one of them */
    fillInside(card) {
      children.get(card.closest("[data-child]")?.getAttribute("data-child") ?? "")?.fillInside(card);
    },
    /** @param {number} now */
    tick(now) {
      for (const child of children.values()) child.tick(now);
    },
  };
}

/**
 * @param {object} from
 * @param {Run} from.run
 * @param {Place} from.at
 * @param {(seq: number) => string} from.contentUrl
 * @param {(change: () => void) => void} from.keepEnd
 * @param {Choices} from.choices
 * @param {(name: string) => string} from.agentTitle
 */
function createChild({ run: first, at, contentUrl, keepEnd, choices, agentTitle }) {
  /** @type {HTMLDetailsElement|null} */
  const rendered = find(at.place, `[data-child="${first.id}"]`);
  const element = /** @type {HTMLDetailsElement} */ (rendered ?? at.place.appendChild(clone("child")));
  const cards = createCallCards({ contentUrl, choices });
  const outline = createOutline({ list: slot(element, "child-steps"), cards, keepEnd, number: at.number });
  let run = first;
  /** @type {Run|null} */
  let painted = null;
  if (rendered) outline.adopt(run, itemsOf(run));
  element.dataset.child = run.id;
  element.dataset.number = at.number;

  return {
    placeOf: outline.placeOf,
    fillInside: cards.fillInside,
    /**
     * @param {Run} next
     * @param {number|null} now
     */
    paint(next, now) {
      if (next === painted) return;
      run = next;
      setText(slot(element, "child-agent"), joined(agentTitle(run.agent), run.model));
      setText(slot(element, "child-message"), run.message);
      setText(slot(element, "child-word"), wordOf(run));
      outline.paint(run, now, itemsOf(run));
      if (run.ended) {
        outline.drawBars(run, null);
        setText(slot(element, "child-dur"), duration(run.duration_ms));
        // The page opened it because it was running.
        if (painted && !painted.ended) element.open = false;
      } else if (!painted) element.open = true;
      setData(element, "status", run.status);
      painted = run;
    },
    /** @param {number} now */
    tick(now) {
      if (run.ended) return;
      if (run.started_at !== null) setText(slot(element, "child-dur"), ticking((now - run.started_at) * 1000 - waitedMs(run, now)));
      outline.tick(run, now, element.open);
    },
  };
}

/** @type {WeakMap<object, Item>} */
const answers = new WeakMap();

/**
 * The rows of a run within another one: the answer is the last one, shown like a thought.
 *
 * @param {Run} run
 * @returns {Item[]}
 */
function itemsOf(run) {
  const answer = run.answer;
  if (answer === null) return run.items;
  let item = answers.get(answer);
  if (!item) {
    item = { ...answer, kind: "thought", iteration: run.iteration, calls: [], by: "", isAnswer: true };
    answers.set(answer, item);
  }
  return [...run.items, item];
}

/** @param {Run} run */
function wordOf(run) {
  const waits = waitsFor(run);
  return status(waits && run.status === "running" ? "waiting" : run.status, {
    waits_for: waits,
    using: using(run),
    growing: run.growth?.type ?? "",
    begun: run.items.length > 0 || run.growth !== null,
    by: run.cancelled_by,
    limit: run.limit || run.iteration,
  });
}
