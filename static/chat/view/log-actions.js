/**
 * The buttons in the log's rows, and the two buttons that appear on a row under the pointer or with focus.
 */

import { copy } from "../lib/clipboard.js";
import { clone, closest, closestTo, find, findAll, setText, slot } from "../lib/dom.js";
import { textOfPart } from "../run/call-card.js";
import { showWhole } from "../run/result.js";

/** @import { Run } from "../state/types.js" */

/**
 * @param {object} from
 * @param {HTMLElement} from.log
 * @param {(id: string|undefined) => Run|undefined} from.runOf
 * @param {(seq: string) => Promise<string>} from.fetchContent the whole text of a stored event
 * @param {(card: HTMLElement) => void} from.fillCard have a call's card hold what is copied from it
 * @param {(change: () => void) => void} from.keepPlace see scroll.js
 * @param {(run: string, onFailed: () => void) => void} from.onContinue
 * @param {(run: string) => void} from.onStop
 * @param {(text: string) => void} from.onStarter a question that the empty page offers
 */
export function createLogActions({ log, runOf, fetchContent, fillCard, keepPlace, onContinue, onStop, onStarter }) {
  offerActions(log);
  /** @param {HTMLElement} element @returns {HTMLElement} */
  const runAround = (element) => closest(element, ".run");

  /**
   * The handler of each action; a click on a row opens it, so clicks on its buttons must not reach it.
   * @type {Record<string, (button: HTMLElement) => void>}
   */
  const actions = {
    "copy-code": (button) => copyText(button.closest(".codeblock")?.querySelector("code")?.textContent ?? "", button),
    "copy-part": (button) => copyText(textOfPart(closest(button, "[data-part]")), button),
    "copy-step": (button) => void copy(contentOfStep(closest(button, ".step, .answer")), button),
    "link-step": (button) => copyText(linkTo(closest(button, ".step, .answer")), button),
    "copy-answer": (button) => void copy(contentOfAnswer(runAround(button)), button),
    "copy-question": (button) => copyText(slot(runAround(button), "q").textContent ?? "", button),
    "copy-run-link": (button) => copyText(linkTo(runAround(button)), button),
    "fold-question": (button) => keepPlace(() => foldQuestion(button, slot(runAround(button), "q"))),
    continue(button) {
      const pressed = /** @type {HTMLButtonElement} */ (button);
      pressed.disabled = true;
      onContinue(runAround(button).dataset.run ?? "", () => (pressed.disabled = false));
    },
    "stop-child": (button) => onStop(closest(button, "[data-child]").dataset.child ?? ""),
    whole(button) {
      const seq = /** @type {HTMLAnchorElement} */ (button).href.match(/events\/(\d+)\//u)?.[1] ?? "";
      void showWhole(button, () => fetchContent(seq));
    },
    starter: (button) => onStarter(find(button, "span").textContent ?? ""),
  };

  log.addEventListener("click", (event) => {
    const button = closestTo(event, "[data-action]");
    const act = actions[button?.dataset.action ?? ""];
    if (!button || !act) return;
    event.preventDefault();
    act(button);
  });

  /**
   * A model's text, as Markdown and as HTML: for targets that accept only text, and for others.
   *
   * @param {HTMLElement} prose
   * @param {string|undefined} written what the page knows of it; what the server has rendered is not in the state
   */
  function contentOf(prose, written) {
    const shown = /** @type {HTMLElement} */ (prose.cloneNode(true));
    for (const ours of findAll(shown, "button, .codeblock > header")) ours.remove();
    const seq = prose.closest("[id^=s]")?.id.slice(1);
    return { text: written || (seq ? fetchContent(seq) : ""), html: shown.innerHTML };
  }

  /** @param {HTMLElement} article */
  function contentOfAnswer(article) {
    /** @type {HTMLElement|null} */
    const prose = find(article, ".answer .prose");
    const run = runOf(article.dataset.run);
    return prose === null ? { text: "" } : contentOf(prose, run?.answer?.text || run?.growth?.text);
  }

  /** @param {HTMLElement} step */
  function contentOfStep(step) {
    const cards = findAll(step, "[data-call]");
    if (!cards.length) {
      const run = runOf(runAround(step).dataset.run);
      return contentOf(slot(step, "text"), run?.items.find(({ seq }) => `s${seq}` === step.id)?.text);
    }
    cards.forEach(fillCard);
    const parts = cards.flatMap((card) => findAll(card, "[data-part]:not([hidden])"));
    return { text: parts.map(textOfPart).join("\n\n") };
  }
}

/**
 * The actions of a row take the place of its strip; they are beside the element that opens the row, not inside it.
 *
 * @param {HTMLElement} log
 */
function offerActions(log) {
  const actions = clone("acts");
  /** @param {Event} event */
  const offer = (event) => {
    const row = closestTo(event, ".step .row");
    const step = row?.querySelector(".strip") && row.closest(".step[id]");
    if (step && actions.parentNode !== step) step.append(actions);
  };
  if (matchMedia("(hover: hover)").matches) log.addEventListener("pointerover", offer, { passive: true });
  log.addEventListener("focusin", offer);
  log.addEventListener("pointerleave", () => actions.remove());
}

/**
 * @param {string} text
 * @param {HTMLElement} button
 */
function copyText(text, button) {
  void copy({ text }, button);
}

/** @param {HTMLElement} element */
function linkTo(element) {
  return new URL(`#${element.id}`, location.href).href;
}

/**
 * Show the whole of a long question, or only its first lines.
 *
 * @param {HTMLElement} button
 * @param {HTMLElement} question
 */
function foldQuestion(button, question) {
  const isOpen = question.classList.toggle("all");
  button.dataset.more ??= button.textContent ?? "";
  button.setAttribute("aria-expanded", String(isOpen));
  setText(button, (isOpen ? button.dataset.less : button.dataset.more) ?? "");
}
