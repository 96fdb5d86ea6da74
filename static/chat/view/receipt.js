/**
 * What is shown after a click on Stop: who requested it, and what has ended since, line by line, until the run itself ends.
 */

import { clone, setIcon, setText, slot } from "../lib/dom.js";
import { gettext } from "../lib/gettext.js";
import { SENTENCES } from "../state/messages.js";

/** @import { Run } from "../state/types.js" */

/** `items` and `wasWriting` are the run's state when the stop was requested. @typedef {{
 *   run: string, element: HTMLElement, since: number|null, items: number, wasWriting: boolean, key: string,
 * }} Receipt */

export function createReceipt() {
  /** @type {Receipt|null} */
  let shown = null;

  function close() {
    shown?.element.remove();
    shown = null;
  }

  return {
    /**
     * @param {Run} run
     * @param {string|null} requestedBy who asked from this page to stop it
     * @param {HTMLElement} article where the run is shown
     * @param {number|null} now the server's time, where it is known
     */
    paint(run, requestedBy, article, now) {
      if (run.status !== "cancelling" || requestedBy === null) {
        close();
        return;
      }
      if (shown?.run !== run.id) {
        close();
        const [items, wasWriting] = [run.items.length, run.growth !== null];
        shown = { run: run.id, element: clone("receipt"), since: now, items, wasWriting, key: "" };
        article.append(shown.element);
      }
      const lines = linesOf(run, requestedBy, shown);
      const key = JSON.stringify(lines);
      if (shown.key === key) return;
      shown.key = key;
      slot(shown.element, "lines").replaceChildren(...lines.map(makeLine));
    },
    /**
     * Twice a second: how long it has taken.
     *
     * @param {number|null} now
     */
    tick(now) {
      if (shown === null) return;
      const time = shown.since === null || now === null ? "" : gettext("%(n)s s", { n: Math.max(0, now - shown.since).toFixed(1) });
      setText(slot(shown.element, "time"), time);
    },
  };
}

/**
 * @param {Run} run
 * @param {string} requestedBy
 * @param {Receipt} receipt
 * @returns {[string, string][]} a symbol and a text each
 */
function linesOf(run, requestedBy, { since, items, wasWriting }) {
  /** @type {[string, string][]} */
  const lines = [["check", SENTENCES.stopRequested(requestedBy)]];
  if (wasWriting && run.growth === null) lines.push(["check", SENTENCES.modelClosed]);
  for (const item of run.items.slice(Math.max(0, items - 1))) {
    for (const call of item.calls) {
      if (call.result === null) lines.push(["queue", SENTENCES.ending(call.name)]);
      else if (call.result.at >= (since ?? 0)) lines.push(["check", SENTENCES.toolEnded(call.name)]);
    }
  }
  return lines;
}

/** @param {[string, string]} line */
function makeLine([symbol, text]) {
  const line = clone("receipt-line");
  setIcon(slot(line, "icon"), symbol);
  setText(slot(line, "text"), text);
  line.classList.toggle("wait", symbol === "queue");
  return line;
}
