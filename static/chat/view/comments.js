/**
 * Comments on steps: their numbers, at the steps, and the thread of each step that was opened.
 *
 * The session's frame has the numbers; a thread is fetched when it is opened, and later comments are added to it.
 */

import { closest, closestTo, find, findAll, setShown, setText, slot } from "../lib/dom.js";
import { commentCount } from "../state/note-words.js";
import { Thread } from "./thread.js";

/** @import { Api } from "../transport/api.js" */
/** @import { CommentData, NotesData } from "../protocol.js" */

/** Milliseconds after which the numbers are shown at new steps. */
const SOON = 150;

export class Comments {
  #from;
  #log;
  /** By step. @type {Map<number, number>} */
  #counts = new Map();
  /** @type {Map<number, Thread>} */
  #threads = new Map();
  #isDue = false;

  /**
   * @param {object} from
   * @param {HTMLElement} from.log
   * @param {Api} from.api
   * @param {string} from.session
   * @param {string} from.me the reader's name
   * @param {boolean} from.isOwner
   * @param {boolean} from.mayNote whether this reader may comment
   * @param {(title: string) => void} from.onRefused
   * @param {() => void} from.onPassed
   */
  constructor({ log, ...from }) {
    this.#from = { ...from, onStored: (/** @type {CommentData} */ comment) => this.update(comment) };
    this.#log = log;
    log.addEventListener("click", (event) => this.#clicked(event));
    // A page of earlier steps, or a run, was added.
    new MutationObserver(() => this.paintSoon()).observe(log, { childList: true });
  }

  /** Paint after new steps are painted; many changes at once are painted once. */
  paintSoon() {
    if (this.#isDue) return;
    this.#isDue = true;
    setTimeout(() => {
      this.#isDue = false;
      this.#paint();
    }, SOON);
  }

  /** Open the thread of the step that the keys have selected. */
  openHere() {
    this.#open(find(this.#log, ".at[id]"));
  }

  /** @param {NotesData} notes @param {boolean} isNews whether something has changed since the last frame */
  joined(notes, isNews) {
    this.#counts.clear();
    for (const [seq, count] of Object.entries(notes.counts)) this.#counts.set(Number(seq), count);
    if (isNews) for (const thread of this.#threads.values()) thread.readAgain();
    this.#paint();
  }

  /** @param {CommentData} comment */
  update(comment) {
    this.#counts.set(comment.seq, comment.count);
    this.#threadAt(comment.seq)?.update(comment);
    this.#paint();
  }

  /** The element of a step; a result has none of its own, and is in its call's. @param {number} seq @returns {HTMLElement|null} */
  #placeOf(seq) {
    const own = document.getElementById(`s${seq}`);
    if (own && this.#log.contains(own)) return own;
    return this.#log.querySelector(`[data-result="${seq}"]`)?.closest(".step, .answer") ?? null;
  }

  /** The thread of a step, which also has the comments on its result. @param {number} seq */
  #threadAt(seq) {
    const place = this.#placeOf(seq);
    if (!place) return null;
    const at = Number(place.id.slice(1)) || seq;
    const known = this.#threads.get(at);
    if (known && place.contains(known.element)) return known;
    const thread = new Thread({ ...this.#from, place, seq: at });
    this.#threads.set(at, thread);
    return thread;
  }

  /** Show each number at its place. */
  #paint() {
    /** @type {Map<number, number>} */
    const sums = new Map([...this.#threads.keys()].map((seq) => [seq, 0]));
    for (const [seq, count] of this.#counts) {
      const thread = count ? this.#threadAt(seq) : null;
      if (!thread) continue;
      thread.addStep(seq);
      sums.set(thread.seq, (sums.get(thread.seq) ?? 0) + count);
    }
    for (const [seq, count] of sums) this.#threads.get(seq)?.paint(count);
    for (const article of findAll(this.#log, ".run")) paintSum(article);
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const button = closestTo(event, '[data-action="comment-step"], [data-action="comment-answer"]');
    if (!button) return;
    event.preventDefault();
    const isAnswer = button.dataset.action === "comment-answer";
    /** @type {HTMLElement} */
    const run = closest(button, ".run");
    this.#open(isAnswer ? find(run, ".answer[id]") : button.closest(".step, .answer"));
  }

  /** @param {Element|null} step */
  #open(step) {
    const seq = Number(step?.id.slice(1));
    if (seq && this.#from.mayNote) this.#threadAt(seq)?.open();
  }
}

/**
 * A folded outline shows the number of comments inside.
 *
 * @param {HTMLElement} article
 */
function paintSum(article) {
  const sum = findAll(article, ".outline .thread").reduce((all, thread) => all + Number(thread.dataset.count ?? 0), 0);
  const place = slot(article, "noted");
  setText(place, sum ? commentCount(sum) : "");
  setShown(place, sum > 0);
}
