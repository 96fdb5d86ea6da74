/**
 * The message box: the typed text is stored, Enter sends, and a refusal is shown beside it.
 */

import { closestTo, find, setShown, setText, slot } from "../lib/dom.js";
import { isComposing } from "../lib/keyboard.js";
import { SENTENCES } from "../state/messages.js";

/** @import { Draft } from "../state/drafts.js" */
/** @import { FileData, Way } from "../state/types.js" */
/** @import { Attachments } from "./attachments.js" */

const TOUCH = matchMedia("(pointer: coarse)");

/** @typedef {{agent_name: string, enable_reasoning: boolean}} Choice */
/** @typedef {{onFound(text: string): boolean, onLost(text: string): void}} DraftHooks */

/**
 * @param {object} from
 * @param {HTMLFormElement} from.form
 * @param {(hooks: DraftHooks) => Draft} from.openDraft makes what keeps the text
 * @param {number} from.most characters of a message; 0 for any number
 * @param {(message: {message: string, files: FileData[], way?: Way} & Choice) => void} from.onSend
 * @param {Attachments} from.attachments the files beside it
 * @param {() => boolean} [from.onTakeBack] have the last waiting message back, to be written anew: it is given back once that is sure
 * @param {(choice: Choice) => void} [from.onChoose] another agent, or reasoning switched
 */
export function createComposer({ form, openDraft, most, attachments, onSend, onTakeBack = () => false, onChoose = () => {} }) {
  const text = createText({ form, openDraft, most, onType: () => refuse("") });
  const chosen = watchChoice(form, onChoose);
  const button = createSendButton(form);
  const refused = find(form, "#refused");
  const ways = createWays(form);
  const fileCheck = createFileCheck({ attachments, ways, show: refuse });

  /**
   * Show why the text cannot be sent; empty removes that.
   *
   * @param {string} why
   */
  function refuse(why) {
    fileCheck.forget();
    setText(refused, why);
    setShown(refused, Boolean(why));
  }

  /** @param {Way} [way] into the run at work, instead of after it */
  function submit(way) {
    // This character is invisible and cannot be stored; text that was copied from a terminal or a PDF may contain it.
    const message = text.value.replaceAll("\0", "");
    if (!message.trim()) return;
    refuse(text.excess);
    if (text.excess || fileCheck.check(way)) return;
    onSend({ message, files: attachments.files, ...chosen(), ...(ways.areOpen && way && { way }) });
  }

  text.box.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    const isPlain = !event.shiftKey && !event.altKey && !event.ctrlKey && !event.metaKey;
    // On-screen keyboards have no Shift+Enter: there, Enter is a new line, and the button sends.
    if (event.key === "Enter" && event.altKey) {
      event.preventDefault();
      submit(event.shiftKey ? "now" : "next");
    } else if (event.key === "Enter" && ((isPlain && !TOUCH.matches) || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && isPlain && text.value === "" && onTakeBack()) event.preventDefault();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  ways.onPress(submit);

  return {
    /** Empty the box: its text is being sent. */
    clear() {
      text.set("");
      attachments.clear();
    },
    offer: text.offer,
    /**
     * Put a text and its files back, before the current text, and focus the box.
     *
     * @param {string} message
     * @param {FileData[]} [files]
     */
    giveBack(message, files = []) {
      text.giveBack(message);
      attachments.giveBack(files);
    },
    /** The current text. */
    get text() {
      return text.value;
    },
    refuse,
    focus: () => text.box.focus({ preventScroll: true }),
    /**
     * Show whether a message would be queued, and whether it could be sent to a running run.
     *
     * @param {boolean} isQueueing
     * @param {boolean} isAtWork
     */
    setBusy(isQueueing, isAtWork) {
      text.setBusy(isQueueing);
      button.setBusy(isQueueing);
      ways.open(isAtWork);
      fileCheck.lookAgain();
    },
    disable: button.disable,
  };
}

/**
 * Whether the files beside the box can go with a message; why not is shown until they can, or are removed.
 *
 * @param {object} from
 * @param {Attachments} from.attachments
 * @param {ReturnType<typeof createWays>} from.ways
 * @param {(why: string) => void} from.show empty for nothing
 */
function createFileCheck({ attachments, ways, show }) {
  /** The way that was refused last. @type {{way?: Way}|null} */
  let refused = null;

  /**
   * Returns why not; empty if they can.
   *
   * @param {Way} [way]
   */
  function check(way) {
    const why = attachments.problem || (ways.areOpen && way && attachments.files.length ? SENTENCES.wordsOnly : "");
    show(why);
    refused = why ? { way } : null;
    return why;
  }

  function lookAgain() {
    if (refused !== null) check(refused.way);
  }
  attachments.onChange = lookAgain;

  return {
    check,
    lookAgain,
    /** Something else is shown. */
    forget() {
      refused = null;
    },
  };
}

/**
 * The buttons that send a message to the running run instead of queueing it. They are shown while one is running.
 *
 * @param {HTMLFormElement} form
 */
function createWays(form) {
  /** @type {HTMLElement|null} */
  const place = form.querySelector("#ways");
  let areOpen = false;
  return {
    get areOpen() {
      return areOpen;
    },
    /** @param {boolean} isAtWork */
    open(isAtWork) {
      areOpen = isAtWork;
      if (place) setShown(place, isAtWork);
    },
    /** @param {(way: Way) => void} act */
    onPress(act) {
      place?.addEventListener("click", (event) => {
        const pressed = closestTo(event, "[data-way]");
        if (pressed) act(/** @type {Way} */ (pressed.dataset.way));
      });
    },
  };
}

/**
 * The text in the box: stored as it is typed, in a box as high as it needs.
 *
 * @param {object} from
 * @param {HTMLFormElement} from.form
 * @param {(hooks: DraftHooks) => Draft} from.openDraft
 * @param {number} from.most characters of a message; 0 for any number
 * @param {() => void} from.onType
 */
function createText({ form, openDraft, most, onType }) {
  /** @type {HTMLTextAreaElement} */
  const box = find(form, "textarea");
  const ask = box.placeholder;
  if (TOUCH.matches) box.enterKeyHint = "enter";
  const fit = createFit(box, find(form, "#length"), excess);
  /** Whether the text would survive a reload. */
  let isKept = true;
  const draft = openDraft({
    onFound: (text) => box.value === "" && fill(text),
    onLost: (text) => box.value === text && fill(""),
  });

  /** Why the text is too long to be sent; empty if it is not. */
  function excess() {
    return most > 0 && box.value.length > most ? SENTENCES.tooLong(box.value.length, most) : "";
  }

  /** @param {string} text */
  function fill(text) {
    box.value = text;
    fit();
    return true;
  }

  /** @param {string} text */
  function set(text) {
    fill(text);
    isKept = draft.write(text);
  }

  /** @param {string} text */
  function write(text) {
    set(text);
    box.focus();
    box.setSelectionRange(text.length, text.length);
  }

  /** @param {string[]} texts */
  const joined = (...texts) => texts.filter((text) => text.trim()).join("\n\n");

  // What was typed before this script ran is appended to the stored text.
  const kept = draft.read();
  if (kept && kept !== box.value) set(joined(kept, box.value));
  else if (box.value) draft.write(box.value);
  fit();
  addEventListener("storage", (event) => draft.isAbout(event.key) && draft.check());
  addEventListener("pageshow", (event) => event.persisted && draft.check());
  addEventListener("beforeunload", (event) => {
    if (!isKept && box.value.trim()) event.preventDefault();
  });
  box.addEventListener("input", () => {
    isKept = draft.write(box.value);
    onType();
    fit();
  });

  return {
    box,
    set,
    get value() {
      return box.value;
    },
    get excess() {
      return excess();
    },
    /** Append a suggested text. @param {string} text */
    offer: (text) => write(joined(box.value, text)),
    /** Put a text back, before the current one, and focus the box. @param {string} text */
    giveBack: (text) => write(joined(text, box.value)),
    /** @param {boolean} isBusy */
    setBusy(isBusy) {
      box.placeholder = isBusy ? (box.dataset.queuePlaceholder ?? "") : ask;
    },
  };
}

/**
 * Adjusts the box's height to its text, and reports a text that is too long.
 *
 * @param {HTMLTextAreaElement} box
 * @param {HTMLElement} length
 * @param {() => string} excess why the text is too long, or empty
 */
function createFit(box, length, excess) {
  const grows = CSS.supports("field-sizing", "content");
  return () => {
    const why = excess();
    setShown(length, why !== "");
    if (why) setText(length, why);
    if (grows) return;
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, innerHeight * 0.3)}px`;
  };
}

/**
 * The agent and the switch beside the box. Returns a function that returns the current choice.
 *
 * @param {HTMLFormElement} form
 * @param {(choice: Choice) => void} onChoose
 */
function watchChoice(form, onChoose) {
  /** @type {HTMLSelectElement} */
  const agent = find(form, "#agent");
  /** @type {HTMLInputElement} */
  const reasoning = find(form, "#reasoning");
  const chosen = () => ({ agent_name: agent.value, enable_reasoning: reasoning.checked });
  for (const choice of [agent, reasoning]) choice.addEventListener("change", () => onChoose(chosen()));
  agent.addEventListener("change", () => showAgent(agent.value));
  // A browser may have restored another choice than the page was rendered with.
  showAgent(agent.value);
  return chosen;
}

/**
 * Show the description of the chosen agent, and its example questions, beside the box.
 *
 * @param {string} name
 */
function showAgent(name) {
  for (const about of document.querySelectorAll("[data-agent]")) {
    setShown(/** @type {HTMLElement} */ (about), about.getAttribute("data-agent") === name);
  }
}

/**
 * The button that sends, and the line that explains it.
 *
 * @param {HTMLFormElement} form
 */
function createSendButton(form) {
  const hint = slot(form, "hint");
  /** @type {HTMLButtonElement} */
  const button = find(form, ".send");
  const words = { hint: hint.textContent ?? "", label: button.getAttribute("aria-label") ?? "" };
  // The button works only from here on: a form that the browser itself submits would lose the text.
  button.type = "submit";
  return {
    /** @param {boolean} isBusy */
    setBusy(isBusy) {
      const { queue = "" } = hint.dataset;
      setText(hint, isBusy ? queue : words.hint);
      button.setAttribute("aria-label", isBusy ? `${words.label} (${queue})` : words.label);
    },
    /** @param {boolean} isDisabled */
    disable(isDisabled) {
      button.disabled = isDisabled;
    },
  };
}
