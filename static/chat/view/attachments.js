/**
 * The files beside the message box: chosen, pasted or dropped, uploaded immediately, and part of the next message.
 */

import { clone, find, setShown, setText, slot } from "../lib/dom.js";
import { pastedFiles } from "../lib/pasted.js";
import { fileSize } from "../state/humanize.js";
import { SENTENCES } from "../state/messages.js";
import { PICTURES } from "../run/files.js";
import { sendFile } from "../transport/uploads.js";

/** @import { FileData, Page } from "../state/types.js" */

/**
 * A file in the list. `sent` is set when the server has it.
 * @typedef {{row: HTMLElement, stop: AbortController, sent: FileData|null, error: boolean}} Attachment
 */

export class Attachments {
  #from;
  #list;
  /** @type {Attachment[]} */
  #all = [];
  /** Called when a file was added, has arrived, was refused or removed. */
  onChange = () => {};

  /**
   * @param {object} from
   * @param {HTMLFormElement} from.form
   * @param {(file: File, on: {onProgress(share: number): void, signal: AbortSignal}) => Promise<FileData>} from.send
   * @param {number} from.most files of one message
   */
  constructor(from) {
    this.#from = from;
    const { form } = from;
    this.#list = find(form, "#attachments");
    /** @type {HTMLInputElement} */
    const input = find(form, "#attach-input");
    const button = find(form, "#attach");
    setShown(button, true);
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add(input.files);
      // The same file can be chosen again.
      input.value = "";
    });
    form.addEventListener("paste", (event) => {
      const files = pastedFiles(event.clipboardData);
      if (!files.length) return;
      event.preventDefault();
      this.add(files);
    });
    find(form, "#agent").addEventListener("change", () => this.#all.forEach((one) => this.#tellUnseen(one)));
    this.#watchDrops(form);
  }

  /** A file that is dropped beside the box must not replace the page. @param {HTMLFormElement} form */
  #watchDrops(form) {
    /** @param {DragEvent} event */
    const holdsFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;
    addEventListener("dragover", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      form.classList.add("dropping");
    });
    addEventListener("dragleave", (event) => event.relatedTarget === null && form.classList.remove("dropping"));
    addEventListener("drop", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      form.classList.remove("dropping");
      this.add(event.dataTransfer?.files ?? null);
    });
  }

  /** Add files, and upload them. @param {Iterable<File>|null} files */
  add(files) {
    for (const file of files ?? []) void this.#send(file);
  }

  /** @param {File} file */
  async #send(file) {
    const attachment = this.#show(file.name, file.size);
    const { row, stop } = attachment;
    const state = slot(row, "state");
    if (this.#all.length > this.#from.most) {
      this.#fail(attachment, SENTENCES.tooManyFiles(this.#from.most));
      return;
    }
    try {
      const onProgress = (/** @type {number} */ share) => setText(state, share < 1 ? `${Math.floor(share * 100)} %` : SENTENCES.checkingFile);
      onProgress(0);
      attachment.sent = await this.#from.send(file, { onProgress, signal: stop.signal });
      this.#tellUnseen(attachment);
      this.onChange();
    } catch (error) {
      if (!stop.signal.aborted) this.#fail(attachment, (error instanceof Error && error.message) || SENTENCES.fileNotSent);
    }
  }

  /** Say for a picture whether the agent's model will see it. @param {Attachment} attachment */
  #tellUnseen({ row, sent }) {
    if (sent === null) return;
    /** @type {HTMLSelectElement} */
    const agent = find(this.#from.form, "#agent");
    const isSeen = agent.selectedOptions[0]?.hasAttribute("data-sees") ?? false;
    setText(slot(row, "state"), PICTURES.includes(sent.media_type) && !isSeen ? SENTENCES.unseenPicture : "");
  }

  /**
   * @param {Attachment} attachment
   * @param {string} why
   */
  #fail(attachment, why) {
    attachment.error = true;
    attachment.row.classList.add("refusal");
    setText(slot(attachment.row, "state"), why);
    this.onChange();
  }

  /**
   * @param {string} name
   * @param {number} size
   */
  #show(name, size) {
    const row = clone("attachment");
    setText(slot(row, "name"), name);
    setText(slot(row, "size"), fileSize(size));
    /** @type {Attachment} */
    const attachment = { row, stop: new AbortController(), sent: null, error: false };
    const remove = find(row, "button");
    remove.setAttribute("aria-label", SENTENCES.removeFile(name));
    remove.addEventListener("click", () => this.#remove(attachment));
    this.#all.push(attachment);
    this.#list.append(row);
    setShown(this.#list, true);
    return attachment;
  }

  /** @param {Attachment} attachment */
  #remove(attachment) {
    attachment.stop.abort();
    this.#all = this.#all.filter((one) => one !== attachment);
    attachment.row.remove();
    setShown(this.#list, this.#all.length > 0);
    this.onChange();
    find(this.#from.form, "textarea").focus();
  }

  /** Why the message cannot be sent yet; empty if it can. */
  get problem() {
    if (this.#all.some((one) => one.error)) return SENTENCES.removeBadFiles;
    return this.#all.some((one) => one.sent === null) ? SENTENCES.filesUnderWay : "";
  }

  /** The files that the server has. @returns {FileData[]} */
  get files() {
    return this.#all.map((one) => one.sent).filter((file) => file !== null);
  }

  /** Empty the list: its files are being sent with a message. */
  clear() {
    this.#all = [];
    this.#list.replaceChildren();
    setShown(this.#list, false);
  }

  /** Add files again that were part of a message. @param {FileData[]} files */
  giveBack(files) {
    for (const file of files) {
      const attachment = this.#show(file.name, file.size);
      attachment.sent = file;
      this.#tellUnseen(attachment);
    }
  }
}

/**
 * The files beside a page's message box.
 *
 * @param {HTMLFormElement} form
 * @param {Page} page
 */
export function attachmentsOf(form, page) {
  return new Attachments({
    form,
    send: (file, on) => sendFile(file, { user: page.user, ...on }),
    most: page.max_files,
  });
}
