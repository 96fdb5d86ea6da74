/**
 * The conversation's page, painted from its state: assigns parts of the state to the parts of the page.
 */

import { byId } from "../lib/dom.js";
import { status } from "../state/run-status.js";
import { current } from "../state/transcript.js";
import { createChoices } from "./choices.js";
import { paintConnection } from "./connection-chip.js";
import { createEarlier } from "./earlier.js";
import { createHeader } from "./header.js";
import { createLog } from "./log.js";
import { createLogActions } from "./log-actions.js";
import { closeNotice, notice } from "./notices.js";
import { paintPeople } from "./people.js";
import { createReceipt } from "./receipt.js";
import { createScroll } from "./scroll.js";
import { createToggles } from "./toggles.js";
import { createWaiting } from "./waiting.js";

/** @import { Page, Person, Run, State, Store, UnsentMessage } from "../state/types.js" */

/**
 * The reader's actions.
 *
 * @typedef {{
 *   stop(run: string, people: Person[]): void,
 *   stopRequestedBy(run: string): string|null,
 *   continueRun(run: string, onFailed: () => void): void,
 *   removeQueued(run: string, text: string|null): void, takeBackWord(id: string, text: string|null): void,
 *   removeUnsent(message: string, text: string|null): void,
 *   offer(text: string): void,
 * }} Act
 */

/**
 * What is painted besides the state: the server's time if it is known, the messages that are not accepted yet (null: unchanged), and
 * whether the queue's first message can be expected to start.
 *
 * @typedef {{now: number|null, unsent: UnsentMessage[]|null, isMoving: boolean}} Given
 */

/**
 * @param {object} from
 * @param {Page} from.page
 * @param {Act} from.act
 * @param {Store} from.storage
 * @param {(seq: string) => Promise<string>} from.fetchContent the whole text of a stored event
 */
export function createView({ page, act, storage, fetchContent }) {
  const element = byId("log");
  const scroll = createScroll({ scroll: byId("scroll"), log: element, jump: document.getElementById("jump") });
  const choices = createChoices({ storage, user: page.user, session: page.session.id });
  const log = createLog({ log: element, page, choices, scroll });
  const head = createHead({ page, act, log });
  const waiting = createWaiting({
    place: document.getElementById("waiting"),
    page,
    onRemoveQueued: act.removeQueued,
    onTakeBackWord: act.takeBackWord,
    onRemoveUnsent: act.removeUnsent,
  });
  /** @type {State|null} */
  let painted = null;
  /** @type {Map<string, number>} */
  let reading = new Map();

  createToggles({ log: element, choices, takeFold: log.takeFold, fillCard: log.fillCard, onOpen: scroll.leave });
  createLogActions({
    log: element,
    runOf: (id) => painted?.runs[id ?? ""],
    fetchContent,
    fillCard: log.fillCard,
    keepPlace: scroll.keepPlace,
    onContinue: act.continueRun,
    onStop: (run) => act.stop(run, painted?.people ?? []),
    onStarter: act.offer,
  });
  createEarlier({ log: element, fillCard: log.fillCard, keepPlace: scroll.keepPlace, onCome: scroll.leave });

  /**
   * @param {State} state
   * @param {Given} given
   */
  function paintAll(state, { now, unsent, isMoving }) {
    const added = log.paint(state, painted, now);
    if (state.order.length) document.getElementById("nothing")?.remove();
    head.paint(state, now);
    const hasMoved = state.queue !== painted?.queue || state.steering !== painted.steering;
    if (hasMoved || unsent !== null) waiting.paint(state, unsent ?? [], isMoving);
    if (state.people !== painted?.people) paintPeople(state.people, reading);
    element.toggleAttribute("data-may-stop", page.may.stop && page.live);
    painted = state;
    return added;
  }

  return {
    scroll,
    notice,
    closeNotice,
    paintConnection,
    setTitle: head.setTitle,
    get title() {
      return head.title;
    },
    /**
     * Paint what has changed.
     *
     * @param {State} state
     * @param {Given} given
     */
    paint(state, given) {
      scroll.addMissed(scroll.keepEnd(() => paintAll(state, given)));
    },
    /** Where others read. @param {Map<string, number>} next */
    setReading(next) {
      reading = next;
      paintPeople(painted?.people ?? [], reading);
    },
    /** Twice a second: clocks. */
    tick: head.tick,
  };
}

/**
 * The page's head, and everything else that shows only the latest run.
 *
 * @param {object} from
 * @param {Page} from.page
 * @param {Act} from.act
 * @param {ReturnType<typeof createLog>} from.log
 */
function createHead({ page, act, log }) {
  /** @type {Person[]} */
  let people = [];
  /** @type {Run|null} */
  let latest = null;
  const header = createHeader({ page, onStop: (run) => act.stop(run.id, people) });
  const receipt = createReceipt();

  return {
    setTitle: header.setTitle,
    get title() {
      return header.title;
    },
    /**
     * @param {State} state
     * @param {number|null} now
     */
    paint(state, now) {
      ({ people } = state);
      latest = current(state);
      if (state.session?.title && state.session.title !== header.title) header.setTitle(state.session.title);
      if (state.isGone) page.may.drive = page.may.stop = false;
      const shown = log.runOf(latest?.id);
      const { isGone, context, budget } = state;
      header.paint(latest, { word: shown?.status ?? status(latest?.status ?? ""), now, isGone, context, budget });
      if (latest && shown) receipt.paint(latest, act.stopRequestedBy(latest.id), shown.article, now);
    },
    /** @param {number|null} now the server's time, where it is known */
    tick(now) {
      if (latest === null || latest.ended) return;
      header.tick(now);
      log.runOf(latest.id)?.tick(now);
      receipt.tick(now);
    },
  };
}
