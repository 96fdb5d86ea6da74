/**
 * One run of the log, painted: question, outline, answer, end. Touches only what has changed since it was painted last.
 */

import { clone, makeBar, setData, setIcon, setShown, setText, slot } from "../lib/dom.js";
import { atWorkLine, did, failed, initials, isLong, joined, roughly, steps, ticking, tint } from "../state/humanize.js";
import { endIcon, endline, status, trouble } from "../state/run-status.js";
import { answerBar, counts, itemBar, using } from "../state/figures.js";
import { pathTo } from "../transport/addresses.js";
import { createAnswer } from "./answer.js";
import { createCallCards } from "./call-card.js";
import { fillFiles } from "./files.js";
import { createOutline } from "./outline.js";

/** @import { Run } from "../state/types.js" */
/** @import { Choices } from "../view/choices.js" */

/**
 * @param {object} from
 * @param {Run} from.run
 * @param {HTMLElement|null} from.element the article that the server has rendered, if it has
 * @param {(seq: number) => string} from.contentUrl where the whole of a long result lies
 * @param {(change: () => void) => void} from.keepEnd what changes the page's height later, by itself, is done within it
 * @param {Choices} from.choices which outlines and steps the reader has opened or closed
 * @param {(name: string) => string} from.agentTitle
 * @param {boolean} from.mayDrive whether this reader may continue a run
 * @param {string} from.locale
 */
export function createRun({ run: first, element, contentUrl, choices, keepEnd, agentTitle, mayDrive, locale }) {
  let run = first;
  const isAdopted = element !== null;
  const article = element ?? clone("run");
  /** @type {HTMLDetailsElement} */
  const details = slot(article, "outline");
  const now_ = slot(article, "now");
  const cards = createCallCards({ contentUrl, choices });
  const outline = createOutline({ list: slot(article, "steps"), cards, keepEnd });
  const answer = createAnswer({ place: slot(article, "answer"), keepEnd, run });
  /** @type {Run|null} */
  let painted = null;
  let foldedByUs = false;

  if (isAdopted) {
    outline.adopt(run);
    if (run.ended) painted = run;
    details.open = choices.outline(run.id) ?? details.open;
  } else {
    article.id = `run-${run.id}`;
    article.dataset.run = run.id;
    article.classList.add("arrive");
  }

  /**
   * Paint the run as it now is. Returns how many rows were added.
   *
   * @param {Run} next
   * @param {number|null} now the server's time, where it is known
   */
  function paint(next, now) {
    if (next === painted) return 0;
    const before = painted;
    run = next;
    if (!before || before.started_at !== next.started_at || before.message !== next.message) {
      paintHead(article, run, { agent: joined(agentTitle(run.agent), run.model), locale });
      if (!isAdopted) details.open = choices.outline(run.id) ?? true;
    }
    const added = outline.paint(run, now);
    setShown(details, !outline.isEmpty);
    answer.paint(run);
    paintSummary(now);
    if (run.ended && !before?.ended) paintEnd(before !== null);
    setData(article, "status", run.status);
    if (run.ended) article.removeAttribute("aria-busy");
    else article.setAttribute("aria-busy", "true");
    painted = run;
    return added;
  }

  /** @param {number|null} now */
  function paintSummary(now) {
    const number = counts(run);
    const tools = run.items.flatMap((item) => item.calls.map((call) => call.name));
    setText(slot(article, "what"), did(tools, number.thoughts) || atWorkLine);
    setText(slot(article, "fact"), joined(number.steps ? steps(number.steps) : "", run.ended ? roughly(run.duration_ms) : ""));
    const failures = failed(number.failed);
    setText(slot(article, "failed"), failures);
    setShown(slot(article, "failed"), failures !== "");
    tickSummary(now);
  }

  /** @param {number|null} now */
  function tickSummary(now) {
    const isFolded = !run.ended && !details.open;
    const time = now === null || run.started_at === null ? "" : ticking((now - run.started_at) * 1000);
    setText(now_, isFolded ? joined(statusText(), time) : "");
  }

  /** The status of the run in words. */
  function statusText() {
    return status(run.status, {
      using: using(run),
      growing: run.growth?.type ?? "",
      begun: run.items.length > 0 || run.growth !== null,
      by: run.cancelled_by,
      limit: run.limit || run.iteration,
    });
  }

  /**
   * The run is over. Its outline folds, unless the reader has chosen.
   *
   * @param {boolean} wasSeen whether the page has shown it at work
   */
  function paintEnd(wasSeen) {
    outline.drawBars(run, null);
    paintEnding(article, run, mayDrive);
    setText(now_, "");
    const bars = [...run.items.map((item) => itemBar(run, item, run.duration_ms)), answerBar(run, run.duration_ms)];
    const strip = slot(article, "strip");
    strip.replaceChildren(...[...strip.children].slice(0, 1), ...bars.filter((bar) => bar !== null).map(makeBar));
    if (!wasSeen) return;
    if (choices.outline(run.id) === undefined && run.status !== "failed" && details.open) {
      foldedByUs = true;
      details.open = false;
    }
    cards.fold();
  }

  return {
    article,
    paint,
    statusText,
    fillInside: cards.fillInside,
    /**
     * Twice a second while it runs: clocks and bars.
     *
     * @param {number|null} now
     */
    tick(now) {
      if (run.ended || now === null) return;
      tickSummary(now);
      outline.tick(run, now, details.open);
    },
    /** Whether the last toggle of the outline was ours, not the reader's. */
    takeFold() {
      const ours = foldedByUs;
      foldedByUs = false;
      return ours;
    },
    get run() {
      return run;
    },
  };
}

/**
 * Who asked what, when, of whom.
 *
 * @param {HTMLElement} article
 * @param {Run} run
 * @param {{agent: string, locale: string}} words
 */
function paintHead(article, run, { agent, locale }) {
  const face = slot(article, "ava");
  face.className = `ava ${tint(run.user)}`;
  setText(face, initials(run.user));
  setText(slot(article, "user"), run.user);
  if (run.started_at !== null) {
    const when = new Date(run.started_at * 1000);
    /** @type {HTMLTimeElement} */
    const time = slot(article, "when");
    time.dateTime = when.toISOString();
    setText(time, when.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }));
  }
  const question = slot(article, "q");
  const isShown = run.continues === null;
  setText(question, run.message);
  question.classList.toggle("long", isLong(run.message));
  setShown(question, isShown);
  setShown(slot(article, "copy-q"), isShown);
  setShown(slot(article, "more-q"), isShown && isLong(run.message));
  /** @type {HTMLAnchorElement} */
  const before = slot(article, "continues");
  setShown(before, !isShown);
  if (run.continues) before.href = `#run-${run.continues}`;
  fillFiles(article, isShown ? run.files : []);
  setText(slot(article, "by"), agent);
  /** @type {HTMLAnchorElement} */
  const inspect = slot(article, "inspect");
  inspect.href = pathTo(`runs/${run.id}/`);
}

/**
 * How the run ended, and what the matter was if it did not end well.
 *
 * @param {HTMLElement} article
 * @param {Run} run
 * @param {boolean} mayDrive
 */
function paintEnding(article, run, mayDrive) {
  const number = counts(run);
  article.classList.toggle("removed", run.removed);
  setShown(slot(article, "ending"), true);
  setText(slot(article, "endline"), endline(run, number));
  setIcon(slot(article, "end-i"), endIcon(run.status));
  const matter = trouble(run, number);
  const banner = slot(article, "trouble");
  setShown(banner, matter !== null);
  if (matter === null) return;
  banner.className = `banner ${matter.tone}`;
  setIcon(slot(article, "trouble-icon"), matter.icon);
  setText(slot(article, "trouble-title"), matter.title);
  setText(slot(article, "trouble-text"), matter.text);
  setShown(slot(article, "continue"), mayDrive);
}
