/**
 * The verdicts on each run: two buttons with numbers at its end, and a box for the reason.
 */

import { clone, closest, closestTo, find, findAll, make, setShown, setText, slot } from "../lib/dom.js";
import { createOrder } from "../lib/in-order.js";
import { isComposing } from "../lib/keyboard.js";
import { joined } from "../state/humanize.js";
import { NOTES } from "../state/note-words.js";
import { messageOf } from "../transport/api.js";

/** @import { Api } from "../transport/api.js" */
/** @import { NotesData, VerdictCounts, VerdictData } from "../protocol.js" */
/** @typedef {"good"|"bad"} Word */

export class Verdicts {
  #from;
  /** By run. @type {Map<string, VerdictCounts>} */
  #counts = new Map();
  /** @type {Map<string, Word>} */
  #mine = new Map();
  /** By run: the button that was pressed last, while verdicts are on their way. @type {Map<string, Word>} */
  #pressed = new Map();
  #inOrder = createOrder();

  /**
   * @param {object} from
   * @param {HTMLElement} from.log
   * @param {Api} from.api
   * @param {string} from.me the reader's name
   * @param {boolean} from.mayNote
   * @param {(title: string) => void} from.onRefused
   * @param {() => void} from.onPassed
   */
  constructor(from) {
    this.#from = from;
    from.log.addEventListener("click", (event) => this.#clicked(event));
    new MutationObserver(() => this.paint()).observe(from.log, { childList: true });
  }

  paint() {
    for (const article of findAll(this.#from.log, ".run")) this.#paintRun(article);
  }

  /** @param {NotesData} notes */
  joined(notes) {
    this.#counts.clear();
    this.#mine.clear();
    for (const [run, each] of Object.entries(notes.verdicts)) this.#counts.set(run, each);
    for (const [run, word] of Object.entries(notes.mine)) this.#mine.set(run, word);
    this.paint();
  }

  /** @param {VerdictData} verdict */
  update(verdict) {
    const { run_id: run, good, bad } = verdict;
    this.#counts.set(run, { good, bad });
    if (verdict.user === this.#from.me) {
      if (verdict.verdict) this.#mine.set(run, verdict.verdict);
      else this.#mine.delete(run);
    }
    const article = document.getElementById(`run-${run}`);
    if (article) this.#paintRun(article);
  }

  /** @param {HTMLElement} article */
  #paintRun(article) {
    const { mayNote } = this.#from;
    const run = article.dataset.run ?? "";
    /** @type {HTMLButtonElement[]} */
    const buttons = findAll(article, "[data-verdict]");
    for (const button of buttons) {
      const word = /** @type {Word} */ (button.dataset.verdict);
      const count = this.#counts.get(run)?.[word] ?? 0;
      button.disabled = !mayNote;
      button.setAttribute("aria-pressed", String(this.#mine.get(run) === word));
      setText(slot(button, "n"), count ? String(count) : "");
      setShown(button, mayNote || count > 0);
    }
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const button = closestTo(event, "[data-verdict]");
    if (!button) return;
    const article = /** @type {HTMLElement} */ (closest(button, ".run"));
    void this.#press(article, /** @type {Word} */ (button.dataset.verdict));
  }

  /**
   * Give a verdict, or take it back. A second press of the same button meanwhile is a double click; one of the other
   * button is a change of mind, which follows.
   *
   * @param {HTMLElement} article
   * @param {Word} word
   */
  async #press(article, word) {
    const run = article.dataset.run ?? "";
    const isGiving = this.#pressed.has(run);
    this.#pressed.set(run, word);
    if (isGiving) return;
    article.querySelector(".verdict-why")?.remove();
    /** @type {Word|undefined} */
    let given;
    let isDone = true;
    for (let next = this.#pressed.get(run); next && next !== given && isDone; next = this.#pressed.get(run)) {
      given = next;
      isDone = await this.#give(run, this.#mine.get(run) === given ? null : given, "");
    }
    this.#pressed.delete(run);
    if (isDone && given && this.#mine.get(run) === given) this.#askWhy(article, given);
  }

  /**
   * Returns whether it is stored.
   *
   * @param {string} run
   * @param {Word|null} word
   * @param {string} reason
   */
  async #give(run, word, reason) {
    try {
      this.update(await this.#inOrder(() => this.#from.api.judge(run, word, reason)));
      this.#from.onPassed();
      return true;
    } catch (error) {
      this.#from.onRefused(messageOf(error, NOTES.notSaved));
      return false;
    }
  }

  /**
   * Ask for the reason, below the run's last line, beside those of others.
   *
   * @param {HTMLElement} article
   * @param {Word} word
   */
  #askWhy(article, word) {
    const run = article.dataset.run ?? "";
    /** @type {HTMLElement|null} */
    const pressed = find(article, `[data-verdict="${word}"]`);
    const form = clone("why");
    /** @type {HTMLTextAreaElement} */
    const box = slot(form, "reason");
    /** @type {string|null} */
    let giving = null;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const reason = box.value;
      if (giving === reason) return;
      giving = reason;
      void this.#give(run, word, reason).then((isDone) => {
        if (giving === reason) giving = null;
        // What was typed meanwhile is not stored yet.
        if (isDone && box.value === reason) form.remove();
      });
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || isComposing(event)) return;
      event.stopPropagation();
      form.remove();
      pressed?.focus();
    });
    slot(article, "ending").querySelector(".body")?.append(form);
    // Whoever has gone on to write elsewhere meanwhile stays there.
    if ([pressed, document.body].includes(/** @type {HTMLElement} */ (document.activeElement))) {
      box.focus();
      form.scrollIntoView({ block: "nearest" });
    }
    void this.#tellOthers(run, form);
  }

  /**
   * @param {string} run
   * @param {HTMLElement} form
   */
  async #tellOthers(run, form) {
    const { api, me } = this.#from;
    const { items } = await api.verdicts(run).catch(() => ({ items: [] }));
    const others = items.filter(({ user, reason }) => user !== me && reason);
    const word = (/** @type {string} */ verdict) => (verdict === "good" ? NOTES.good : NOTES.bad);
    slot(form, "others").replaceChildren(...others.map((each) => make("li", `${joined(each.user, word(each.verdict))}: ${each.reason}`)));
  }
}
