/**
 * Going from step to step: by single keys, and by links that lead to one.
 */

import { copy } from "../lib/clipboard.js";
import { closest, findAll } from "../lib/dom.js";
import { closeNotice, notice } from "../view/notices.js";
import { onKey } from "./keys.js";
import { SENTENCES } from "../state/messages.js";

/**
 * @param {object} from
 * @param {() => void} from.onGo called before the page moves to a step
 * @param {number} from.first the first event on this page; earlier ones are on an earlier one
 * @param {() => number} from.last the number of the session's last event
 */
export function createSteps({ onGo, first, last }) {
  /** @type {HTMLElement|null} */
  let at = null;

  function all() {
    return findAll(document, "#log .step[id], #log .answer[id]").filter((step) => step.offsetParent !== null || step.matches(".answer"));
  }

  /** @param {HTMLElement|null|undefined} step */
  function go(step) {
    if (!step) return;
    at?.classList.remove("at");
    at = step;
    at.classList.add("at");
    onGo();
    at.scrollIntoView({ block: "nearest" });
    /** @type {HTMLElement|null} */
    const row = at.querySelector("summary") ?? at.querySelector(".step-n");
    row?.focus({ preventScroll: true });
  }

  /**
   * @param {number} by
   * @param {(step: HTMLElement) => boolean} wanted
   */
  function move(by, wanted = () => true) {
    const steps = all();
    const from = at ? steps.indexOf(at) : by > 0 ? -1 : steps.length;
    for (let index = from + by; index >= 0 && index < steps.length; index += by) {
      if (wanted(steps[index])) {
        go(steps[index]);
        return;
      }
    }
  }

  onKey("j", () => move(1));
  onKey("k", () => move(-1));
  onKey("e", () => {
    /** @type {HTMLDetailsElement[]} */
    const outlines = findAll(document, "#log .outline:has([data-state=fail])");
    for (const outline of outlines) outline.open = true;
    move(1, (step) => step.dataset.state === "fail");
  });
  onKey("o", () => {
    const details = at?.querySelector("details");
    if (details) details.open = !details.open;
  });
  onKey("c", () => {
    if (at) void copy({ text: new URL(`#${at.id}`, location.href).href }, null);
  });

  /** A link to a step opens what it lies in; one that is not on this page is on an earlier one, or nowhere. */
  function toHash() {
    closeNotice("no-step");
    const id = decoded(location.hash.slice(1));
    if (!/^(s\d+|run-[0-9a-f-]+)$/u.test(id)) return;
    const isStep = id.startsWith("s");
    const number = Number(id.slice(1));
    // A result has no row of its own: it lies in its call's card.
    const element = document.getElementById(id) ?? document.querySelector(`#log [data-result="${id.slice(1)}"]`);
    if (element) {
      reveal(element, isStep);
    } else if (isStep && number >= 1 && number < first && !new URLSearchParams(location.search).has("at")) {
      location.replace(`?at=${number}#${id}`);
    } else {
      const title = isStep ? SENTENCES.noStep(number, number >= 1 && number <= last()) : SENTENCES.noRun;
      notice("no-step", { title, tone: "wait", icon: "warn" });
    }
  }

  /**
   * @param {Element} element
   * @param {boolean} isStep
   */
  function reveal(element, isStep) {
    for (let outer = element.closest("details"); outer; outer = outer.parentElement?.closest("details") ?? null) outer.open = true;
    const own = isStep && !element.matches("details") ? element.querySelector("details") : null;
    if (own) own.open = true;
    onGo();
    element.scrollIntoView({ block: isStep ? "center" : "start" });
    if (isStep) go(closest(element, ".step, .answer"));
  }

  addEventListener("hashchange", toHash);
  return { toHash };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
