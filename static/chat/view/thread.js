/**
 * The comments on one step, below it: a line with their number, which opens to the comments and a box for another one.
 */

import { clone, closestTo, find, setShown, setText, slot } from "../lib/dom.js";
import { createOrder } from "../lib/in-order.js";
import { isComposing } from "../lib/keyboard.js";
import { initials, tint } from "../state/humanize.js";
import { SENTENCES } from "../state/messages.js";
import { commentCount, NOTES } from "../state/note-words.js";
import { ApiError, messageOf } from "../transport/api.js";

/** @import { Api } from "../transport/api.js" */
/** @import { CommentData } from "../protocol.js" */
/** @typedef {{id: string, seq: number, user: string, text: string, created_at: number, edited_at: number|null, deleted?: true}} Comment */

export class Thread {
  #from;
  /** @type {HTMLDetailsElement} */
  #element;
  /** @type {HTMLTextAreaElement} */
  #box;
  /** The numbers of its steps: the call's and its result's. */
  #about;
  /** @type {Map<string, Comment>} */
  #comments = new Map();
  #isRead = false;
  /** Comments that arrived while the thread was being fetched. @type {Comment[]|null} */
  #meanwhile = null;
  /** The comment that the box edits; empty: a new one. */
  #changing = "";
  /** The new comment that was in the box before. */
  #unsent = "";
  #isSaying = false;
  #inOrder = createOrder();
  /** What was in the box when it was sent last. */
  #confirmed = "";
  /** A comment of which it is not known whether it was stored, and the comments from before. @type {{text: string, known: Set<string>}|null} */
  #unsure = null;

  /**
   * @param {object} from
   * @param {HTMLElement} from.place the step
   * @param {number} from.seq its number
   * @param {Api} from.api
   * @param {string} from.session
   * @param {string} from.me the reader's name
   * @param {boolean} from.isOwner whether the session is the reader's
   * @param {boolean} from.mayNote
   * @param {(title: string) => void} from.onRefused
   * @param {() => void} from.onPassed
   * @param {(comment: CommentData) => void} from.onStored what the reader has done is stored; the others are told of it too
   */
  constructor(from) {
    this.#from = from;
    this.#element = /** @type {HTMLDetailsElement} */ (clone("thread"));
    this.#box = slot(this.#element, "text");
    this.#about = new Set([from.seq]);
    const { place } = from;
    (place.matches(".answer") ? (place.querySelector(".body") ?? place) : place).append(this.#element);
    this.#listen();
  }

  get element() {
    return this.#element;
  }

  get seq() {
    return this.#from.seq;
  }

  /** @param {Comment} comment */
  update(comment) {
    this.#meanwhile?.push(comment);
    this.#keep(comment);
    if (this.#isRead) this.#paintComments();
  }

  /** The thread also shows the comments on this step. @param {number} other */
  addStep(other) {
    if (this.#about.has(other)) return;
    this.#about.add(other);
    this.readAgain();
  }

  /** The thread may be out of date. */
  readAgain() {
    this.#isRead = false;
    if (this.#element.open) void this.#read();
  }

  /** Open the thread, with the focus in the box. */
  open() {
    /** @type {HTMLDetailsElement|null|undefined} */
    let outer = this.#from.place.closest("details");
    for (; outer; outer = outer.parentElement?.closest("details")) outer.open = true;
    setShown(this.#element, true);
    this.#element.open = true;
    this.#box.focus();
  }

  /** @param {number} count */
  paint(count) {
    this.#element.dataset.count = String(count);
    setText(slot(this.#element, "count"), commentCount(count));
    setShown(this.#element, count > 0 || this.#element.open);
  }

  #listen() {
    const { mayNote } = this.#from;
    const element = this.#element;
    const form = slot(element, "form");
    setShown(form, mayNote);
    element.addEventListener("toggle", () => {
      if (element.open) void this.#read();
      else this.paint(Number(element.dataset.count ?? 0));
    });
    element.addEventListener("click", (event) => this.#clicked(event));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#say();
    });
    this.#box.addEventListener("keydown", (event) => this.#pressed(event));
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (isComposing(event)) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      void this.#say();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      // What is not stored yet stays in the box.
      if (this.#changing) this.#reset();
      else this.#from.onPassed();
      this.#element.open = false;
      /** @type {HTMLElement|null} */
      const row = find(this.#from.place, "summary, .step-n");
      row?.focus();
    }
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const button = closestTo(event, "[data-note]");
    if (!button) return;
    event.preventDefault();
    const comment = this.#comments.get(button.closest("[data-comment]")?.getAttribute("data-comment") ?? "");
    if (button.dataset.note === "cancel") this.#reset();
    if (button.dataset.note === "delete" && comment && isMeant(button)) void this.#remove(comment);
    if (button.dataset.note === "edit" && comment) this.#change(comment);
  }

  async #read() {
    if (this.#isRead || this.#meanwhile) return;
    const { api, session } = this.#from;
    this.#meanwhile = [];
    await this.#attempt(async () => {
      const pages = await Promise.all([...this.#about].map((each) => api.comments(session, each)));
      this.#comments.clear();
      for (const comment of [...pages.flatMap((page) => page.items), ...(this.#meanwhile ?? [])]) this.#keep(comment);
      this.#isRead = true;
    }, SENTENCES.failedRequest);
    this.#meanwhile = null;
    this.#paintComments();
  }

  async #say() {
    this.#confirmed = this.#box.value;
    if (this.#isSaying) return;
    this.#isSaying = true;
    let isConfirmed = true;
    while (isConfirmed && this.#box.value.trim()) {
      isConfirmed = false;
      const text = this.#box.value;
      const changing = this.#changing;
      await this.#attempt(async () => {
        await this.#inOrder(async () => {
          const stored = await (changing ? this.#from.api.editComment(changing, text) : this.#writeNew(text));
          // What was changed and sent meanwhile is stored after that, but not what is still being written.
          isConfirmed = this.#box.value === this.#confirmed && this.#confirmed !== text;
          this.#stored(text, changing);
          this.#publish(stored);
        });
      });
    }
    this.#isSaying = false;
  }

  /**
   * Store a new comment; it is not stored twice where the answer to it was lost.
   *
   * @param {string} text
   * @returns {Promise<Comment>}
   */
  async #writeNew(text) {
    const { api, session, seq, me } = this.#from;
    if (this.#unsure?.text === text) {
      const { known } = this.#unsure;
      const { items } = await api.comments(session, seq);
      const stored = items.find((each) => each.user === me && each.text.trim() === text.trim() && !known.has(each.id));
      if (stored) return stored;
    }
    const known = new Set(this.#comments.keys());
    try {
      return await api.comment(session, seq, text);
    } catch (error) {
      if (!(error instanceof ApiError && error.message)) this.#unsure ??= { text, known };
      throw error;
    }
  }

  /**
   * Empty the box of what is stored. What was typed meanwhile stays.
   *
   * @param {string} text
   * @param {string} changing the comment that it has changed, if it was none of its own
   */
  #stored(text, changing) {
    this.#unsure = null;
    if (this.#changing !== changing) {
      if (!changing) this.#unsent = withoutStart(this.#unsent, text);
      return;
    }
    const { value } = this.#box;
    if (value === text) this.#reset();
    else if (!changing) this.#box.value = withoutStart(value, text);
  }

  /** @param {Comment} comment */
  async #remove(comment) {
    await this.#attempt(async () => {
      await this.#inOrder(async () => {
        if (!this.#comments.has(comment.id)) return;
        await this.#from.api.deleteComment(comment.id);
        const at = document.activeElement;
        this.#publish({ ...comment, deleted: true });
        // Whoever has gone on to write elsewhere meanwhile stays there.
        if (at === document.body || this.#element.contains(at)) this.#box.focus();
      });
    });
  }

  /** @param {Comment} comment */
  #change(comment) {
    if (!this.#changing) this.#unsent = this.#box.value;
    this.#changing = comment.id;
    this.#box.value = comment.text;
    setShown(slot(this.#element, "cancel"), true);
    this.#box.focus();
  }

  /**
   * Do something that may be refused, and show that.
   *
   * @param {() => Promise<void>} act
   * @param {string} [otherwise] what is said where the server says nothing
   */
  async #attempt(act, otherwise = NOTES.notSaved) {
    try {
      await act();
      this.#from.onPassed();
    } catch (error) {
      this.#from.onRefused(messageOf(error, otherwise));
    }
  }

  /** Show what the reader has done immediately; a live connection sends it again. @param {Comment} comment */
  #publish(comment) {
    this.#keep(comment);
    const count = [...this.#comments.values()].filter((each) => each.seq === comment.seq).length;
    this.#from.onStored({ ...comment, count, version: 0 });
  }

  #reset() {
    this.#from.onPassed();
    this.#changing = "";
    this.#box.value = this.#unsent;
    this.#unsent = "";
    setShown(slot(this.#element, "cancel"), false);
  }

  /** @param {Comment} comment */
  #keep(comment) {
    if (comment.deleted) this.#comments.delete(comment.id);
    else this.#comments.set(comment.id, comment);
  }

  #paintComments() {
    const inOrder = [...this.#comments.values()].sort((a, b) => a.created_at - b.created_at);
    slot(this.#element, "comments").replaceChildren(...inOrder.map((comment) => this.#makeRow(comment)));
  }

  /** @param {Comment} comment */
  #makeRow(comment) {
    const { me, isOwner, mayNote } = this.#from;
    const row = clone("comment");
    row.dataset.comment = comment.id;
    const face = slot(row, "ava");
    face.className = `ava ${tint(comment.user)}`;
    setText(face, initials(comment.user));
    setText(slot(row, "user"), comment.user);
    const when = new Date(comment.created_at * 1000);
    /** @type {HTMLTimeElement} */
    const time = slot(row, "when");
    time.dateTime = when.toISOString();
    setText(time, when.toLocaleString(document.documentElement.lang, { dateStyle: "short", timeStyle: "short", hourCycle: "h23" }));
    setText(slot(row, "edited"), comment.edited_at ? NOTES.edited : "");
    setText(slot(row, "text"), comment.text);
    setShown(slot(row, "edit"), mayNote && comment.user === me);
    setShown(slot(row, "delete"), mayNote && (comment.user === me || isOwner));
    return row;
  }
}

/**
 * The rest of a text after its start; the whole text if it has another one.
 *
 * @param {string} text
 * @param {string} start
 */
function withoutStart(text, start) {
  return text.startsWith(start) ? text.slice(start.length).trimStart() : text;
}

/**
 * Whether this is the second press of a button that needs two; the first one asks for it.
 *
 * @param {HTMLElement} button
 */
function isMeant(button) {
  if (button.dataset.pressed) return true;
  const label = button.getAttribute("aria-label") ?? "";
  const ask = (/** @type {string} */ words, /** @type {string} */ pressed) => {
    button.title = words;
    button.setAttribute("aria-label", words);
    button.dataset.pressed = pressed;
    button.classList.toggle("t-fail", pressed !== "");
  };
  ask(NOTES.pressAgain, "once");
  button.addEventListener("blur", () => ask(label, ""), { once: true });
  return false;
}
