/**
 * The view of one run: question, outline, answer, end. Changes only what is different since the last paint.
 */

import { clone, makeBar, setData, setIcon, setShown, setText, slot } from "../lib/dom.js";
import { approxDuration, atWorkLine, failed, initials, isLong, joined, sentAlong, steps, summarizeTools, ticking, tint } from "../state/humanize.js";
import { endIcon, failureBanner, runSummary, status } from "../state/run-status.js";
import { answerBar, counts, itemBar, using, waitedMs, waitsFor, wholeMs } from "../state/figures.js";
import { pathTo } from "../transport/addresses.js";
import { createAnswer } from "./answer.js";
import { createCallCards } from "./call-card.js";
import { createChildren } from "./children.js";
import { fillFiles } from "./files.js";
import { createOutline } from "./outline.js";

/** @import { Run } from "../state/types.js" */
/** @import { Choices } from "../view/choices.js" */

export class RunArticle {
  #run;
  #from;
  #article;
  /** Whether the server has rendered it. */
  #isAdopted;
  /** @type {HTMLDetailsElement} */
  #details;
  #now;
  #cards;
  #outline;
  #children;
  #answer;
  /** @type {Run|null} */
  #painted = null;
  #isFoldedByUs = false;

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
  constructor({ run, element, ...from }) {
    this.#run = run;
    this.#from = from;
    this.#isAdopted = element !== null;
    const article = element ?? clone("run");
    const { contentUrl, choices, keepEnd } = from;
    this.#article = article;
    this.#details = slot(article, "outline");
    this.#now = slot(article, "now");
    this.#cards = createCallCards({ contentUrl, choices });
    this.#outline = createOutline({ list: slot(article, "steps"), cards: this.#cards, keepEnd });
    this.#children = createChildren({ contentUrl, keepEnd, choices, agentTitle: from.agentTitle });
    this.#answer = createAnswer({ place: slot(article, "answer"), keepEnd, run });
    if (this.#isAdopted) this.#adopt();
    else setUp(article, run);
  }

  get run() {
    return this.#run;
  }

  get article() {
    return this.#article;
  }

  /** The status of the run in words. */
  get status() {
    return statusOf(this.#run);
  }

  /**
   * Paint the run. Returns how many rows were added.
   *
   * @param {Run} run
   * @param {number|null} now the server's time, where it is known
   */
  paint(run, now) {
    const before = this.#painted;
    if (run === before) return 0;
    this.#run = run;
    if (!before || before.started_at !== run.started_at || before.message !== run.message) this.#paintHead();
    const added = this.#outline.paint(run, now);
    setShown(this.#details, !this.#outline.isEmpty);
    this.#answer.paint(run);
    paintSummary(this.#article, run);
    this.#tickSummary(now);
    if (run.ended && !before?.ended) this.#paintEnd(before !== null);
    setData(this.#article, "status", run.status);
    if (run.ended) this.#article.removeAttribute("aria-busy");
    else this.#article.setAttribute("aria-busy", "true");
    this.#painted = run;
    return added;
  }

  /**
   * Twice a second while the run is running: clocks and bars.
   *
   * @param {number|null} now
   */
  tick(now) {
    if (this.#run.ended || now === null) return;
    this.#tickSummary(now);
    this.#outline.tick(this.#run, now, this.#details.open);
    this.#children.tick(now);
  }

  /**
   * Paint a run within this one, at any depth.
   *
   * @param {Run} child
   * @param {number|null} now
   */
  paintWithin(child, now) {
    const asked = child.parent;
    if (asked === null) return;
    const isOwn = asked.run_id === this.#run.id;
    const place = isOwn ? this.#outline.placeOf(asked.tool_call_id) : this.#children.placeOf(asked.run_id, asked.tool_call_id);
    if (place) this.#children.paint(child, place, now);
  }

  /**
   * Fill the parts of a call's card if it is open.
   *
   * @param {HTMLElement} card
   */
  fillInside(card) {
    if (card.closest("[data-child]")) this.#children.fillInside(card);
    else this.#cards.fillInside(card);
  }

  /** Whether the last toggle of the outline was the page's own, not the reader's. */
  takeFold() {
    const ours = this.#isFoldedByUs;
    this.#isFoldedByUs = false;
    return ours;
  }

  #adopt() {
    const run = this.#run;
    this.#outline.adopt(run);
    if (run.ended) this.#painted = run;
    this.#details.open = this.#from.choices.outline(run.id) ?? this.#details.open;
  }

  #paintHead() {
    const { agentTitle, locale, choices } = this.#from;
    const run = this.#run;
    paintHead(this.#article, run, { agent: joined(agentTitle(run.agent), run.model), locale });
    if (!this.#isAdopted) this.#details.open = choices.outline(run.id) ?? true;
  }

  /** @param {number|null} now */
  #tickSummary(now) {
    const run = this.#run;
    const isFolded = !run.ended && !this.#details.open;
    const time = now === null || run.started_at === null ? "" : ticking((now - run.started_at) * 1000 - waitedMs(run, now));
    setText(this.#now, isFolded ? joined(this.status, time) : "");
  }

  /**
   * The run has ended. Its outline folds, unless the reader has chosen.
   *
   * @param {boolean} wasSeen whether the page has shown it at work
   */
  #paintEnd(wasSeen) {
    const run = this.#run;
    this.#outline.drawBars(run, null);
    paintEnding(this.#article, run, this.#from.mayDrive);
    paintStrip(slot(this.#article, "strip"), run);
    if (!wasSeen) return;
    if (this.#from.choices.outline(run.id) === undefined && run.status !== "failed" && this.#details.open) {
      this.#isFoldedByUs = true;
      this.#details.open = false;
    }
    this.#cards.fold();
  }
}

/**
 * Prepare the article of a run that starts while the page is open.
 *
 * @param {HTMLElement} article
 * @param {Run} run
 */
function setUp(article, run) {
  article.id = `run-${run.id}`;
  article.dataset.run = run.id;
  article.classList.add("arrive");
}

/** @param {Run} run */
function statusOf(run) {
  const waits = waitsFor(run);
  return status(waits && run.status === "running" ? "waiting" : run.status, {
    waits_for: waits,
    using: using(run),
    growing: run.growth?.type ?? "",
    begun: run.items.length > 0 || run.growth !== null,
    by: run.cancelled_by,
    limit: run.limit || run.iteration,
  });
}

/**
 * A summary of what the run has done so far.
 *
 * @param {HTMLElement} article
 * @param {Run} run
 */
function paintSummary(article, run) {
  const number = counts(run);
  const tools = run.items.flatMap((item) => item.calls.map((call) => call.name));
  setText(slot(article, "what"), summarizeTools(tools, number.thoughts) || atWorkLine);
  setText(slot(article, "fact"), joined(number.steps ? steps(number.steps) : "", run.ended ? approxDuration(run.duration_ms) : ""));
  const failures = failed(number.failed);
  setText(slot(article, "failed"), failures);
  setShown(slot(article, "failed"), failures !== "");
}

/**
 * The whole run as bars, in the line that is shown when its outline is folded.
 *
 * @param {HTMLElement} strip
 * @param {Run} run
 */
function paintStrip(strip, run) {
  const bars = [...run.items.map((item) => itemBar(run, item, wholeMs(run))), answerBar(run, wholeMs(run))];
  strip.replaceChildren(...[...strip.children].slice(0, 1), ...bars.filter((bar) => bar !== null).map(makeBar));
}

/**
 * The user, the time, the agent and the question.
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
  for (const name of ["branch", "case"]) {
    /** @type {HTMLAnchorElement} */ (slot(article, name)).href = pathTo(`runs/${run.id}/${name}/`);
  }
  /** @type {HTMLAnchorElement} */ (slot(article, "compare")).href = pathTo(`compare/?a=${run.id}`);
  /** @type {HTMLAnchorElement} */
  const along = slot(article, "along");
  along.href = `${inspect.href}#along`;
  setText(along, run.sent_along ? sentAlong(run.sent_along) : "");
  setShown(along, run.sent_along !== null);
}

/**
 * How the run ended, and the problem if it did not end well.
 *
 * @param {HTMLElement} article
 * @param {Run} run
 * @param {boolean} mayDrive
 */
function paintEnding(article, run, mayDrive) {
  const number = counts(run);
  article.classList.toggle("removed", run.removed);
  setShown(slot(article, "ending"), true);
  setText(slot(article, "endline"), runSummary(run, number));
  setIcon(slot(article, "end-i"), endIcon(run.status));
  const matter = failureBanner(run, number);
  const banner = slot(article, "trouble");
  setShown(banner, matter !== null);
  if (matter === null) return;
  banner.className = `banner ${matter.tone}`;
  setIcon(slot(article, "trouble-icon"), matter.icon);
  setText(slot(article, "trouble-title"), matter.title);
  setText(slot(article, "trouble-text"), matter.text);
  setShown(slot(article, "continue"), mayDrive);
}
