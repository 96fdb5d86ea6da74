/**
 * The log: its runs, each painted when it has changed.
 */

import { findAll } from "../lib/dom.js";
import { decorate } from "../run/prose.js";
import { enhanceCard } from "../run/result.js";
import { RunArticle } from "../run/run.js";
import { pathTo } from "../transport/addresses.js";

/** @import { Page, Run, State } from "../state/types.js" */
/** @import { Choices } from "./choices.js" */
/** @import { createScroll } from "./scroll.js" */

/**
 * @param {object} from
 * @param {HTMLElement} from.log
 * @param {Page} from.page
 * @param {Choices} from.choices which outlines and steps the reader has opened or closed
 * @param {ReturnType<typeof createScroll>} from.scroll
 */
export function createLog({ log, page, choices, scroll }) {
  /** @type {Map<string, RunArticle>} */
  const runs = new Map();
  decorateAnswers(log);

  /** @param {Run} run */
  function add(run) {
    const element = document.getElementById(`run-${run.id}`);
    const shown = new RunArticle({
      run,
      element,
      choices,
      keepEnd: scroll.keepEnd,
      agentTitle: (name) => page.agents[name] ?? name,
      mayDrive: page.may.drive,
      contentUrl: (seq) => pathTo(`api/sessions/${page.session.id}/events/${seq}/content/`),
      locale: document.documentElement.lang,
    });
    runs.set(run.id, shown);
    if (!element) log.append(shown.article);
    return shown;
  }

  /**
   * @param {Run} run
   * @param {number|null} now
   */
  function paintRun(run, now) {
    const shown = runs.get(run.id) ?? add(run);
    if (!run.ended || shown.run.ended) return shown.paint(run, now);
    let added = 0;
    scroll.keepPlace(() => (added = shown.paint(run, now)));
    return added;
  }

  /**
   * @param {State} state
   * @param {Run} run a run within another one
   * @param {number|null} now
   */
  function paintWithin(state, run, now) {
    let root = run;
    while (root.parent !== null && state.runs[root.parent.run_id]) root = state.runs[root.parent.run_id];
    runs.get(root.id)?.paintWithin(run, now);
  }

  function clear() {
    runs.clear();
    log.replaceChildren();
    document.getElementById("earlier")?.remove();
  }

  return {
    /**
     * The view of a run; undefined if it is not on this page.
     *
     * @param {string} [id]
     */
    runOf: (id = "") => runs.get(id),
    /**
     * Paint what has changed between two states. Returns how many rows were added.
     *
     * @param {State} state
     * @param {State|null} before
     * @param {number|null} now the server's time, where it is known
     */
    paint(state, before, now) {
      if (before && state.resets !== before.resets) clear();
      let added = 0;
      for (const id of state.order) {
        const run = state.runs[id];
        if (before?.runs[id] !== run || !runs.has(id)) added += paintRun(run, now);
      }
      for (const id of state.within) {
        if (before?.runs[id] !== state.runs[id]) paintWithin(state, state.runs[id], now);
      }
      return added;
    },
    /** Whether the page itself has just folded a run's outline. @param {string} id */
    takeFold: (id) => runs.get(id)?.takeFold() ?? false,
    /**
     * Fill a call's card; cards of earlier pages are filled already.
     *
     * @param {HTMLElement} card
     */
    fillCard(card) {
      const shown = runs.get(card.closest(".run")?.getAttribute("data-run") ?? "");
      if (shown) shown.fillInside(card);
      else enhanceCard(card);
    },
  };
}

/**
 * The answers that the server has rendered.
 *
 * @param {HTMLElement} log
 */
function decorateAnswers(log) {
  for (const prose of findAll(log, ".answer .prose")) {
    decorate([...prose.childNodes]);
    if (prose.firstElementChild === null) prose.classList.add("plain");
  }
}
