/**
 * Earlier steps, added before those on the page: they are parts of the page that the link leads to.
 */

import { closestTo, find, findAll, setShown, slot } from "../lib/dom.js";
import { fetchPage } from "../lib/fragments.js";
import { decorate } from "../run/prose.js";

/**
 * @param {object} from
 * @param {HTMLElement} from.log
 * @param {(card: HTMLElement) => void} from.fillCard an open card of a call has come
 * @param {(change: () => void) => void} from.keepPlace see scroll.js
 * @param {() => void} from.onCome the reader reads there now, and not at the end
 */
export function createEarlier({ log, fillCard, keepPlace, onCome }) {
  const line = document.getElementById("earlier");
  line?.addEventListener("click", (event) => {
    /** @type {HTMLAnchorElement|null} */
    const anchor = closestTo(event, "a");
    if (!anchor) return;
    event.preventDefault();
    void show(anchor);
  });

  /** @param {HTMLAnchorElement} anchor */
  async function show(anchor) {
    anchor.setAttribute("aria-busy", "true");
    const other = await fetchPage(anchor.href);
    if (other === null) {
      location.assign(anchor.href);
      return;
    }
    onCome();
    keepPlace(() => {
      const first = log.querySelector(".run");
      for (const run of findAll(other, "#log .run")) putBefore(run, first);
      /** @type {HTMLAnchorElement|null} */
      const next = find(other, "#earlier a");
      if (next === null) {
        line?.remove();
        return;
      }
      anchor.href = next.href;
      anchor.textContent = next.textContent;
      anchor.removeAttribute("aria-busy");
    });
  }

  /**
   * @param {HTMLElement} run of the earlier page
   * @param {Element|null} first the first run on this page
   */
  function putBefore(run, first) {
    const mine = document.getElementById(run.id);
    if (mine) {
      slot(mine, "steps").prepend(...slot(run, "steps").children);
      mine.querySelector(".outline > .earlier")?.remove();
      setShown(slot(mine, "outline"), true);
      return;
    }
    log.insertBefore(document.adoptNode(run), first);
    for (const prose of findAll(run, ".answer .prose")) decorate([...prose.childNodes]);
    findAll(run, ".tool[open]").forEach(fillCard);
  }
}
