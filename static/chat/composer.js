/**
 * The message box: what is typed is kept, Enter sends, and a refusal is said in words beside it.
 */

import { say, show, slot } from "./nodes.js";
import { SENTENCES } from "./words.js";

/**
 * @param {(message: {message: string, agent_name: string, enable_reasoning: boolean}) => void} from.onSend
 * @param {() => string|null} from.onTakeBack the last waiting message, to be written anew
 */
export function createComposer({ form, draft, most, onSend, onTakeBack = () => null }) {
  const box = form.querySelector("textarea");
  const refused = form.querySelector("#refused");
  const length = form.querySelector("#length");
  const hint = slot(form, "hint");
  const send = form.querySelector(".send");
  const words = { ask: box.placeholder, send: hint.textContent, sendLabel: send.getAttribute("aria-label") };
  const grows = CSS.supports("field-sizing", "content");

  // A draft of an earlier visit, unless the browser has restored one itself.
  if (!box.value) box.value = draft.read();
  fit();

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
    onSend({
      message,
      agent_name: form.querySelector("#agent").value,
      enable_reasoning: form.querySelector("#reasoning").checked,
    });
  }

  box.addEventListener("input", () => {
    draft.write(box.value);
    refuse("");
    fit();
  });
  box.addEventListener("keydown", (event) => {
    // While an input method composes, Enter belongs to it (229 is how older browsers say so).
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "ArrowUp" && box.value === "") {
      const text = onTakeBack();
      if (text !== null) {
        event.preventDefault();
        write(text);
      }
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });

  function write(text) {
    box.value = text;
    draft.write(text);
    fit();
    box.focus();
    box.setSelectionRange(text.length, text.length);
  }

  return {
    /** Empty the box: its text is on its way. */
    clear() {
      box.value = "";
      draft.write("");
      fit();
    },
    write,
    /** Put a text back, before what is being written now. */
    giveBack(text) {
      write(box.value.trim() ? `${text}\n\n${box.value}` : text);
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
