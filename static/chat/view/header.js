/**
 * The head of a conversation's page: the latest run's status and figures, and the same in the browser's tab.
 */

import { byId, makeRect, setData, setShown, setText, slot, visible } from "../lib/dom.js";
import { waitedMs, waitsFor } from "../state/figures.js";
import { approxDuration, budgetUse, clock, contextUse, iterationOf, usage, waited } from "../state/humanize.js";
import { dot } from "../state/run-status.js";
import { SENTENCES } from "../state/messages.js";
import { badged } from "./badge.js";
import { pathTo } from "../transport/addresses.js";

/** @import { Page, Run } from "../state/types.js" */

/** The marks of the gauge; it is hidden if more than two iterations would share one. */
const GAUGE = 20;

/**
 * @param {object} from
 * @param {Page} from.page
 * @param {(run: Run) => void} from.onStop stops the shown run
 */
export function createHeader({ page, onStop }) {
  const state = byId("run-state");
  const time = byId("clock");
  /** @type {HTMLButtonElement} */
  const stop = byId("stop");
  const wordOfStop = slot(stop, "word");
  const words = { stop: wordOfStop.textContent ?? "", stopping: wordOfStop.dataset.stopping ?? "" };
  let title = page.session.title;
  /** @type {Run|null} */
  let shown = null;

  stop.addEventListener("click", () => {
    if (shown && !shown.ended) onStop(shown);
  });

  /** @param {Run} run */
  function paintStop(run) {
    const isStopping = run.status === "cancelling";
    setShown(stop, !run.ended && page.may.stop && page.live);
    stop.disabled = isStopping;
    setText(wordOfStop, isStopping ? words.stopping : words.stop);
  }

  /** @param {number|null} now */
  function tick(now) {
    if (shown === null) return;
    let text = approxDuration(shown.duration_ms);
    const waits = now === null && !shown.ended ? 0 : waitedMs(shown, now ?? 0);
    if (!shown.ended) text = now === null || shown.started_at === null ? "" : clock((now - shown.started_at) * 1000 - waits);
    setText(time, text);
    setText(byId("waited"), waited(waits));
    setShown(byId("waited"), waits >= 1000);
    paintTab(shown, title, `${text} · ${state.textContent}`);
  }

  return {
    /**
     * Show a run, or that there is none.
     *
     * @param {Run|null} run
     * @param {object} more
     * @param {string} more.word what it is doing
     * @param {number|null} more.now the server's time, where it is known
     * @param {boolean} more.isGone whether the session is none any more
     * @param {{used: number, limit: number}|null} more.context what the conversation takes of the model's context
     * @param {{used: number, limit: number}|null} more.budget what is used of the tightest budget
     */
    paint(run, { word, now, isGone, context, budget }) {
      shown = run;
      setShown(byId("run-facts"), run !== null && !isGone);
      byId("run-dot").className = `dot ${dotOf(run)}`;
      if (run === null) {
        paintTab(null, title);
        return;
      }
      setText(state, word);
      setData(state, "tone", dotOf(run));
      paintFigures(run, run.limit || page.max_iterations);
      paintShare("context", context, contextUse);
      paintShare("budget", budget, budgetUse);
      paintStop(run);
      paintLinks(run);
      tick(now);
    },
    /** Twice a second: the clock. */
    tick,
    /** @param {string} next */
    setTitle(next) {
      title = next;
      setText(byId("title"), next);
      paintTab(shown, title, `${time.textContent} · ${state.textContent}`);
    },
    get title() {
      return title;
    },
  };
}

/**
 * A run's dot: amber if it waits for people, in the list and in the tab.
 *
 * @param {Run|null} run
 */
function dotOf(run) {
  return run === null ? "done" : dot(run.status === "running" && waitsFor(run) ? "waiting" : run.status);
}

/**
 * The browser's tab shows a running run even if the page is hidden.
 *
 * @param {Run|null} run
 * @param {string} title the session's
 * @param {string} [doing] how long the run has taken, and what it does
 */
function paintTab(run, title, doing = "") {
  const name = title || SENTENCES.newSession;
  const isLive = run !== null && !run.ended;
  const whole = badged(visible(`${isLive ? `● ${doing} · ${name}` : name} · Thinkaloud`));
  if (document.title !== whole) document.title = whole;
  const favicon = byId("favicon");
  const href = favicon.dataset[dotOf(run)] ?? favicon.dataset.done;
  if (href && favicon.getAttribute("href") !== href) favicon.setAttribute("href", href);
}

/**
 * The run's progress, and what it has used.
 *
 * @param {Run} run
 * @param {number} limit iterations that it may take
 */
function paintFigures(run, limit) {
  const short = byId("iteration-short");
  const iteration = byId("iteration");
  const counts = run.iteration > 0 && run.enable_reasoning;
  setShown(iteration, counts);
  setText(slot(iteration, "words"), iterationOf(run.iteration, limit));
  setText(short, counts ? (limit ? `${run.iteration}/${limit}` : String(run.iteration)) : "");
  setShown(short, counts);
  paintGauge(run, limit);
  const tokens = byId("tokens");
  const spent = run.usage !== null && run.usage.input_tokens + run.usage.output_tokens > 0;
  setText(tokens, run.usage !== null && spent ? usage(run.usage) : "");
  setShown(tokens, spent);
}

/**
 * How much of the model's context, or of a budget, is used: from 80 % on it is a warning.
 *
 * @param {string} id
 * @param {{used: number, limit: number}|null} share
 * @param {(share: {used: number, limit: number}) => string} words
 */
function paintShare(id, share, words) {
  // It is in the message box, which watchers do not have.
  const gauge = document.getElementById(id);
  if (gauge === null) return;
  const isKnown = share !== null && share.limit > 0;
  setShown(gauge, isKnown);
  if (!isKnown) return;
  setText(gauge, words(share));
  setData(gauge, "tone", share.used >= share.limit * 0.8 ? "wait" : "");
}

/**
 * The links to the run's own page.
 *
 * @param {Run} run
 */
function paintLinks(run) {
  /** @type {NodeListOf<HTMLAnchorElement>} */
  const links = document.querySelectorAll('[data-slot="timeline"], [data-slot="events"]');
  for (const anchor of links) {
    anchor.href = pathTo(`runs/${run.id}/${anchor.dataset.slot === "events" ? "#events" : ""}`);
    anchor.hidden = false;
  }
}

/**
 * How many of its possible iterations the run has used.
 *
 * @param {Run} run
 * @param {number} limit
 */
function paintGauge(run, limit) {
  const gauge = byId("gauge");
  const marks = limit && limit <= GAUGE * 2 ? GAUGE : 0;
  setShown(gauge, marks > 0);
  if (!marks) return;
  const on = Math.ceil((run.iteration / limit) * marks);
  const key = `${on}/${run.ended}`;
  if (gauge.dataset.key === key) return;
  gauge.dataset.key = key;
  /** @param {number} index @returns {Record<string, string>} */
  const look = (index) => (index >= on ? {} : { class: index === on - 1 && !run.ended ? "now" : "on" });
  gauge.replaceChildren(
    ...Array.from({ length: marks }, (_, index) => makeRect({ x: index * 3, width: 2, height: 8, ...look(index) })),
  );
}
