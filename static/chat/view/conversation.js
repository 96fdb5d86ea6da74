/**
 * The conversation's page, painted from its state: what of the state is shown by which part.
 */

import { byId, findAll } from "../lib/dom.js";
import { enhanceCard } from "../run/result.js";
import { decorate } from "../run/prose.js";
import { createRun } from "../run/run.js";
import { status } from "../state/run-status.js";
import { current } from "../state/transcript.js";
import { pathTo } from "../transport/addresses.js";
import { createChoices } from "./choices.js";
import { paintConnection } from "./connection-chip.js";
import { createEarlier } from "./earlier.js";
import { createHeader } from "./header.js";
import { createLogActions } from "./log-actions.js";
import { closeNotice, notice } from "./notices.js";
import { paintPeople } from "./people.js";
import { createReceipt } from "./receipt.js";
import { createScroll } from "./scroll.js";
import { createToggles } from "./toggles.js";
import { createWaiting } from "./waiting.js";

/** @import { Page, Person, Run, State, Store, UnsentMessage } from "../state/types.js" */

/**
 * What a reader's click asks for.
 *
 * @typedef {{
 *   stop(run: string, people: Person[]): void,
 *   stopRequestedBy(run: string): string|null,
 *   continueRun(run: string, onFailed: () => void): void,
 *   removeQueued(run: string, text: string|null): void,
 *   removeUnsent(message: string, text: string|null): void,
 *   offer(text: string): void,
 * }} Act
 */

/**
 * @param {object} from
 * @param {Page} from.page
 * @param {Act} from.act
 * @param {Store} from.storage
 * @param {(seq: string) => Promise<string>} from.fetchContent the whole text of a stored event
 */
export function createView({ page, act, storage, fetchContent }) {
  const log = byId("log");
  const scroll = createScroll({ scroll: byId("scroll"), log, jump: document.getElementById("jump") });
  const choices = createChoices({ storage, user: page.user, session: page.session.id });
  /** @type {Map<string, ReturnType<typeof createRun>>} */
  const runs = new Map();
  /** @type {State|null} */
  let painted = null;
  /** @type {Run|null} */
  let latest = null;

  const header = createHeader({ page, onStop: (run) => act.stop(run.id, painted?.people ?? []) });
  const receipt = createReceipt();
  const waiting = createWaiting({
    place: document.getElementById("waiting"),
    page,
    onRemoveQueued: act.removeQueued,
    onRemoveUnsent: act.removeUnsent,
  });
  for (const prose of findAll(log, ".answer .prose")) {
    decorate([...prose.childNodes]);
    if (prose.firstElementChild === null) prose.classList.add("plain");
  }
  createToggles({
    log,
    choices,
    takeFold: (run) => runs.get(run)?.takeFold() ?? false,
    fillCard,
    onOpen: scroll.leave,
  });
  createLogActions({
    log,
    runOf: (id) => painted?.runs[id ?? ""],
    fetchContent,
    fillCard,
    keepPlace: scroll.keepPlace,
    onContinue: act.continueRun,
    onStarter: act.offer,
  });
  createEarlier({ log, fillCard, keepPlace: scroll.keepPlace, onCome: scroll.leave });

  /**
   * Have a call's card hold what it shows; cards of earlier pages do already.
   *
   * @param {HTMLElement} card
   */
  function fillCard(card) {
    const row = runs.get(card.closest(".run")?.getAttribute("data-run") ?? "");
    if (row) row.fillInside(card);
    else enhanceCard(card);
  }

  /**
   * @param {State} state
   * @param {Given} given
   */
  function paintAll(state, { now, unsent, isMoving }) {
    if (painted && state.resets !== painted.resets) clearLog();
    let added = 0;
    for (const id of state.order) {
      const run = state.runs[id];
      if (painted?.runs[id] === run && runs.has(id)) continue;
      added += paintRun(run, now);
    }
    for (const id of state.within) paintWithin(state, state.runs[id], now);
    latest = current(state);
    if (state.order.length) document.getElementById("nothing")?.remove();
    paintHeader(state, now);
    if (state.queue !== painted?.queue || unsent !== null) waiting.paint(state.queue, unsent ?? [], isMoving);
    if (state.people !== painted?.people) paintPeople(state.people);
    painted = state;
    return added;
  }

  /**
   * @param {Run} run
   * @param {number|null} now
   */
  function paintRun(run, now) {
    const row = runs.get(run.id) ?? addRun(run);
    let added = 0;
    const change = () => {
      added = row.paint(run, now);
    };
    if (run.ended && !row.run.ended) scroll.keepPlace(change);
    else change();
    return added;
  }

  /**
   * @param {State} state
   * @param {Run} run a run within another one
   * @param {number|null} now
   */
  function paintWithin(state, run, now) {
    if (painted?.runs[run.id] === run) return;
    let root = run;
    while (root.parent !== null && state.runs[root.parent.run_id]) root = state.runs[root.parent.run_id];
    runs.get(root.id)?.paintChild(run, now);
  }

  /** @param {Run} run */
  function addRun(run) {
    const element = document.getElementById(`run-${run.id}`);
    const row = createRun({
      run,
      element,
      choices,
      keepEnd: scroll.keepEnd,
      agentTitle: (name) => page.agents[name] ?? name,
      mayDrive: page.may.drive,
      contentUrl: (seq) => pathTo(`api/sessions/${page.session.id}/events/${seq}/content/`),
      locale: document.documentElement.lang,
    });
    runs.set(run.id, row);
    if (!element) log.append(row.article);
    return row;
  }

  function clearLog() {
    runs.clear();
    log.replaceChildren();
    document.getElementById("earlier")?.remove();
  }

  /**
   * @param {State} state
   * @param {number|null} now
   */
  function paintHeader(state, now) {
    if (state.session?.title && state.session.title !== header.title) header.setTitle(state.session.title);
    if (state.isGone) page.may.drive = page.may.stop = false;
    const row = runs.get(latest?.id ?? "");
    header.paint(latest, { word: row?.statusText() ?? status(latest?.status ?? ""), now, isGone: state.isGone });
    if (latest && row) receipt.paint(latest, act.stopRequestedBy(latest.id), row.article, now);
  }

  return {
    scroll,
    notice,
    closeNotice,
    paintConnection,
    setTitle: header.setTitle,
    get title() {
      return header.title;
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
    /**
     * Twice a second: clocks.
     *
     * @param {number|null} now the server's time, where it is known
     */
    tick(now) {
      if (latest === null || latest.ended) return;
      header.tick(now);
      runs.get(latest.id)?.tick(now);
      receipt.tick(now);
    },
  };
}

/**
 * What is painted beside the state: the server's time where it is known, the messages that are not accepted yet (null: as before), and
 * whether the queue's first message can be expected to start.
 *
 * @typedef {{now: number|null, unsent: UnsentMessage[]|null, isMoving: boolean}} Given
 */
