/**
 * The message box: what is typed is kept, Enter sends, and a refusal is said in words beside it.
 */

import { say, show, slot } from "../lib/dom.js";
import { SENTENCES } from "../state/humanize.js";

const TOUCH = matchMedia("(pointer: coarse)");

/**
 * @param {(hooks: object) => object} from.openDraft makes what keeps the text, see drafts.js
 * @param {(message: {message: string, agent_name: string, enable_reasoning: boolean}) => void} from.onSend
 * @param {() => boolean} from.onTakeBack have the last waiting message back, to be written anew: it is given back once that is sure
 * @param {(choice: object) => void} from.onChoose another agent, or reasoning switched
 */
export function createComposer({ form, openDraft, most, onSend, onTakeBack = () => false, onChoose = () => {} }) {
  const box = form.querySelector("textarea");
  const refused = form.querySelector("#refused");
  const length = form.querySelector("#length");
  const hint = slot(form, "hint");
  const send = form.querySelector(".send");
  const words = { ask: box.placeholder, send: hint.textContent, sendLabel: send.getAttribute("aria-label") };
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
    show(length, over);
    if (over) say(length, SENTENCES.tooLong(box.value.length, most));
    if (grows) return;
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, innerHeight * 0.3)}px`;
  }

  function refuse(text) {
    say(refused, text);
    show(refused, Boolean(text));
  }

  function submit() {
    const message = box.value;
    if (!message.trim()) return;
    if (most > 0 && message.length > most) {
      refuse(SENTENCES.tooLong(message.length, most));
      return;
    }
    refuse("");
    onSend({ message, ...chosen() });
  }

  function chosen() {
    return { agent_name: form.querySelector("#agent").value, enable_reasoning: form.querySelector("#reasoning").checked };
  }

  for (const choice of form.querySelectorAll("#agent, #reasoning")) choice.addEventListener("change", () => onChoose(chosen()));

  box.addEventListener("input", () => {
    isKept = draft.write(box.value);
    refuse("");
    fit();
  });
  box.addEventListener("keydown", (event) => {
    // While an input method composes, Enter belongs to it (229 is how older browsers say so).
    if (event.isComposing || event.keyCode === 229) return;
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

  function write(text) {
    set(text);
    box.focus();
    box.setSelectionRange(text.length, text.length);
  }

  function set(text) {
    box.value = text;
    isKept = draft.write(text);
    fit();
  }

  /** Put a text back, before what is being written now. */
  function giveBack(text) {
    set(box.value.trim() ? `${text}\n\n${box.value}` : text);
  }

  return {
    /** Empty the box: its text is on its way. */
    clear() {
      set("");
    },
    /** Offer a text, behind what stands there. */
    offer(text) {
      write(box.value.trim() ? `${box.value}\n\n${text}` : text);
    },
    /** Put a text back, before what is being written now, and go on with it. */
    giveBack(text) {
      giveBack(text);
      write(box.value);
    },
    /** The text as it stands. */
    get text() {
      return box.value;
    },
    refuse,
    focus: () => box.focus({ preventScroll: true }),
    busy(isBusy) {
      box.placeholder = isBusy ? box.dataset.queuePlaceholder : words.ask;
      say(hint, isBusy ? hint.dataset.queue : words.send);
      send.setAttribute("aria-label", isBusy ? `${words.sendLabel} (${hint.dataset.queue})` : words.sendLabel);
    },
    disable(isDisabled) {
      send.disabled = isDisabled;
    },
  };
}
