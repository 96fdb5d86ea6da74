/**
 * Moving from step to step: by single keys, and by links to a step.
 */

import { copy } from "../lib/clipboard.js";
import { closest, findAll } from "../lib/dom.js";
import { closeNotice, notice } from "../view/notices.js";
import { onKey } from "./keys.js";
import { SENTENCES } from "../state/messages.js";

export class Steps {
  #from;
  /** The step that the keys have selected. @type {HTMLElement|null} */
  #at = null;

  /**
   * @param {object} from
   * @param {() => void} from.onGo called before the page moves to a step
   * @param {number} from.first the first event on this page; earlier ones are on an earlier one
   * @param {() => number} from.last the number of the session's last event
   */
  constructor(from) {
    this.#from = from;
    onKey("j", () => this.#move(1));
    onKey("k", () => this.#move(-1));
    onKey("e", () => this.#toFailed());
    onKey("o", () => {
      const details = this.#at?.querySelector("details");
      if (details) details.open = !details.open;
    });
    onKey("c", () => {
      if (this.#at) void copy({ text: new URL(`#${this.#at.id}`, location.href).href }, null);
    });
    addEventListener("hashchange", () => this.toHash());
  }

  /** A link to a step opens the parts around it; a step that is not on this page is on an earlier one, or does not exist. */
  toHash() {
    closeNotice("no-step");
    const id = decoded(location.hash.slice(1));
    if (!/^(s\d+|run-[0-9a-f-]+)$/u.test(id)) return;
    const isStep = id.startsWith("s");
    // A result has no row of its own: it is in its call's card.
    const element = document.getElementById(id) ?? document.querySelector(`#log [data-result="${id.slice(1)}"]`);
    if (element) this.#reveal(element, isStep);
    else if (isStep) this.#toEarlier(Number(id.slice(1)));
    else notice("no-step", { title: SENTENCES.noRun, tone: "wait", icon: "warn", passing: true });
  }

  /**
   * Open the page with a step; if there is none, say so.
   *
   * @param {number} number
   */
  #toEarlier(number) {
    const { first, last } = this.#from;
    if (number >= 1 && number < first && !new URLSearchParams(location.search).has("at")) {
      location.replace(`?at=${number}#s${number}`);
      return;
    }
    notice("no-step", { title: SENTENCES.noStep(number, number >= 1 && number <= last()), tone: "wait", icon: "warn", passing: true });
  }

  /** @param {HTMLElement|null|undefined} step */
  #go(step) {
    if (!step) return;
    this.#at?.classList.remove("at");
    this.#at = step;
    step.classList.add("at");
    this.#from.onGo();
    step.scrollIntoView({ block: "nearest" });
    /** @type {HTMLElement|null} */
    const row = step.querySelector("summary") ?? step.querySelector(".step-n");
    row?.focus({ preventScroll: true });
  }

  /**
   * @param {number} by
   * @param {(step: HTMLElement) => boolean} wanted
   */
  #move(by, wanted = () => true) {
    const steps = allSteps();
    const from = this.#at ? steps.indexOf(this.#at) : by > 0 ? -1 : steps.length;
    for (let index = from + by; index >= 0 && index < steps.length; index += by) {
      if (wanted(steps[index])) {
        this.#go(steps[index]);
        return;
      }
    }
  }

  #toFailed() {
    /** @type {HTMLDetailsElement[]} */
    const outlines = findAll(document, "#log .outline:has([data-state=fail])");
    for (const outline of outlines) outline.open = true;
    this.#move(1, (step) => step.dataset.state === "fail");
  }

  /**
   * @param {Element} element
   * @param {boolean} isStep
   */
  #reveal(element, isStep) {
    for (let outer = element.closest("details"); outer; outer = outer.parentElement?.closest("details") ?? null) outer.open = true;
    const own = isStep && !element.matches("details") ? element.querySelector("details") : null;
    if (own) own.open = true;
    this.#from.onGo();
    element.scrollIntoView({ block: isStep ? "center" : "start" });
    if (isStep) this.#go(closest(element, ".step, .answer"));
  }
}

/** The visible steps, and the answers. */
function allSteps() {
  return findAll(document, "#log .step[id], #log .answer[id]").filter((step) => step.offsetParent !== null || step.matches(".answer"));
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
