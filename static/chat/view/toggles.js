/**
 * What the reader opens and closes in the log: stored, and distinguished from what the page opens and closes itself.
 */

import { closest, closestTo, findAll } from "../lib/dom.js";
import { openThought } from "../run/prose.js";
import { enhanceCard } from "../run/result.js";

/** @import { Choices } from "./choices.js" */

/**
 * @param {object} from
 * @param {HTMLElement} from.log
 * @param {Choices} from.choices
 * @param {(run: string) => boolean} from.takeFold whether the page itself has just folded that run's outline
 * @param {(card: HTMLElement) => void} from.fillCard a call's card is open now
 * @param {() => void} from.onOpen the reader has opened something, and reads there
 */
export function createToggles({ log, choices, takeFold, fillCard, onOpen }) {
  applyChoices(log, choices);

  /** Whether the last press was the reader's: what opens after it is the reader's choice. */
  let isByHand = false;
  for (const press of ["pointerdown", "keydown"]) log.addEventListener(press, () => (isByHand = true));
  // Screen readers send only a click.
  log.addEventListener("click", (event) => (isByHand ||= closestTo(event, "summary") !== null), true);
  log.addEventListener("toggle", toggled, true);

  /** @param {Event} event */
  function toggled(event) {
    const details = /** @type {HTMLDetailsElement} */ (event.target);
    if (details.matches(".outline")) {
      const run = closest(details, ".run").dataset.run ?? "";
      if (!takeFold(run) && isByHand) choices.setOutline(run, details.open);
    } else if (details.matches(".tool, .mini")) {
      if (details.open) fillCard(details);
      if (isByHand) choices.setStep(details.closest("[id^=s]")?.id.slice(1), details.open);
    } else if (details.open && details.matches("[data-item=thought] > details")) {
      void openThought(details);
    }
    if (isByHand && details.open) onOpen();
    isByHand = false;
  }
}

/**
 * Open and close what the server has rendered according to the reader's choices.
 *
 * @param {HTMLElement} log
 * @param {Choices} choices
 */
function applyChoices(log, choices) {
  /** @type {HTMLDetailsElement[]} */
  const cards = findAll(log, ".tool");
  for (const card of cards) {
    card.open = choices.step(closest(card, ".step").id.slice(1)) ?? card.open;
    if (card.open) enhanceCard(card);
  }
  /** @type {HTMLDetailsElement[]} */
  const outlines = findAll(log, ".outline");
  for (const outline of outlines) outline.open = choices.outline(closest(outline, ".run").dataset.run ?? "") ?? outline.open;
}
