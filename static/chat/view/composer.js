/**
 * The message box: what is typed is kept, Enter sends, and a refusal stands in words beside it.
 */

import { find, setShown, setText, slot } from "../lib/dom.js";
import { isComposing } from "../lib/keyboard.js";
import { SENTENCES } from "../state/messages.js";

/** @import { Draft } from "../state/drafts.js" */
/** @import { FileData } from "../state/types.js" */
/** @import { Attachments } from "./attachments.js" */

const TOUCH = matchMedia("(pointer: coarse)");

/** @typedef {{agent_name: string, enable_reasoning: boolean}} Choice */
/** @typedef {{onFound(text: string): boolean, onLost(text: string): void}} DraftHooks */

/**
 * @param {object} from
 * @param {HTMLFormElement} from.form
 * @param {(hooks: DraftHooks) => Draft} from.openDraft makes what keeps the text
 * @param {number} from.most characters of a message; 0 for any number
 * @param {(message: {message: string, files: FileData[]} & Choice) => void} from.onSend
 * @param {Attachments} [from.attachments] the files beside it
 * @param {() => boolean} [from.onTakeBack] have the last waiting message back, to be written anew: it is given back once that is sure
 * @param {(choice: Choice) => void} [from.onChoose] another agent, or reasoning switched
 */
export function createComposer({ form, openDraft, most, attachments, onSend, onTakeBack = () => false, onChoose = () => {} }) {
  /** @type {HTMLTextAreaElement} */
  const box = find(form, "textarea");
  const refused = find(form, "#refused");
  const length = find(form, "#length");
  const hint = slot(form, "hint");
  /** @type {HTMLButtonElement} */
  const send = find(form, ".send");
  /** @type {HTMLSelectElement} */
  const agent = find(form, "#agent");
  /** @type {HTMLInputElement} */
  const reasoning = find(form, "#reasoning");
  const words = { ask: box.placeholder, send: hint.textContent ?? "", sendLabel: send.getAttribute("aria-label") ?? "" };
  const grows = CSS.supports("field-sizing", "content");

  /** Whether what is in the box would survive a reload. */
  let isKept = true;

  // Only from here on is there something that a click can start: a form that is sent by the browser would take the text with it.
  send.type = "submit";
  if (TOUCH.matches) box.enterKeyHint = "enter";

  const draft = openDraft({
    onFound(text) {
      if (box.value) return false;
      box.value = text;
      fit();
      return true;
    },
    onLost(text) {
      if (box.value !== text) return;
      box.value = "";
      fit();
    },
  });
  // What was typed before this script ran stands behind what is kept.
  const kept = draft.read();
  if (kept && kept !== box.value) giveBack(kept);
  else if (box.value) draft.write(box.value);
  fit();
  addEventListener("storage", (event) => draft.isAbout(event.key) && draft.check());
  addEventListener("pageshow", (event) => event.persisted && draft.check());
  addEventListener("beforeunload", (event) => {
    if (!isKept && box.value.trim()) event.preventDefault();
  });

  function fit() {
    const over = most > 0 && box.value.length > most;
    setShown(length, over);
    if (over) setText(length, SENTENCES.tooLong(box.value.length, most));
    if (grows) return;
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, innerHeight * 0.3)}px`;
  }

  /**
   * Say why the text cannot be sent; empty takes that away.
   *
   * @param {string} text
   */
  function refuse(text) {
    setText(refused, text);
    setShown(refused, Boolean(text));
  }

  function submit() {
    const message = box.value;
    if (!message.trim()) return;
    if (most > 0 && message.length > most) {
      refuse(SENTENCES.tooLong(message.length, most));
      return;
    }
    if (attachments?.problem) {
      refuse(attachments.problem);
      return;
    }
    refuse("");
    onSend({ message, files: attachments?.files ?? [], ...chosen() });
  }

  function chosen() {
    return { agent_name: agent.value, enable_reasoning: reasoning.checked };
  }

  for (const choice of [agent, reasoning]) choice.addEventListener("change", () => onChoose(chosen()));

  box.addEventListener("input", () => {
    isKept = draft.write(box.value);
    refuse("");
    fit();
  });
  box.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    const isPlain = !event.shiftKey && !event.altKey && !event.ctrlKey && !event.metaKey;
    // A thumb has no Shift+Enter: there, Enter is a new line, and the button sends.
    if (event.key === "Enter" && ((isPlain && !TOUCH.matches) || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && isPlain && box.value === "" && onTakeBack()) {
      event.preventDefault();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });

  /** @param {string} text */
  function write(text) {
    set(text);
    box.focus();
    box.setSelectionRange(text.length, text.length);
  }

  /** @param {string} text */
  function set(text) {
    box.value = text;
    isKept = draft.write(text);
    fit();
  }

  /**
   * Put a text back, before what is being written now.
   *
   * @param {string} text
   */
  function giveBack(text) {
    set(box.value.trim() ? `${text}\n\n${box.value}` : text);
  }

  return {
    /** Empty the box: its text is on its way. */
    clear() {
      set("");
      attachments?.clear();
    },
    /**
     * Offer a text, behind what stands there.
     *
     * @param {string} text
     */
    offer(text) {
      write(box.value.trim() ? `${box.value}\n\n${text}` : text);
    },
    /**
     * Put a text back, before what is being written now, and go on with it.
     *
     * @param {string} text
     * @param {FileData[]} [files]
     */
    giveBack(text, files = []) {
      giveBack(text);
      attachments?.giveBack(files);
      write(box.value);
    },
    /** The text as it stands. */
    get text() {
      return box.value;
    },
    refuse,
    focus: () => box.focus({ preventScroll: true }),
    /**
     * Say whether a message would be queued.
     *
     * @param {boolean} isBusy
     */
    setBusy(isBusy) {
      const { queue = "" } = hint.dataset;
      box.placeholder = isBusy ? (box.dataset.queuePlaceholder ?? "") : words.ask;
      setText(hint, isBusy ? queue : words.send);
      send.setAttribute("aria-label", isBusy ? `${words.sendLabel} (${queue})` : words.sendLabel);
    },
    /** @param {boolean} isDisabled */
    disable(isDisabled) {
      send.disabled = isDisabled;
    },
  };
}
