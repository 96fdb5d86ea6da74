/**
 * Messages being sent: sent when there is a connection, shown while they wait, and given back if they are refused.
 */

import { CLOSE } from "../protocol.js";
import { SENTENCES } from "../state/messages.js";
import { closeNotice, notice } from "../view/notices.js";

/** @import { Connection } from "./connection.js" */
/** @import { Outbox } from "../transport/outbox.js" */
/** @import { FileData, Link, UnsentMessage, Way } from "../state/types.js" */

/** A message that is accepted within this time, in milliseconds, is never shown as being sent. */
const SOON = 400;
/** The pause before a message is sent again that the server could not accept, or that another page has left unsent. */
const SEND_AGAIN = 2_000;
/** Without an answer to a message for this long, in milliseconds, the page checks whether the connection works. */
const ANSWER_WITHIN = 5_000;

export class Outgoing {
  #from;

  /**
   * @param {object} from
   * @param {Outbox} from.outbox
   * @param {Connection} from.connection
   * @param {() => boolean} from.hasJoined whether the server has sent the session's state
   * @param {(text: string, files?: FileData[]) => void} from.giveBack put a text back into the message box
   * @param {() => void} from.onChange what is to be shown of them may be different now
   */
  constructor(from) {
    this.#from = from;
    addEventListener("beforeunload", (event) => !from.outbox.isSaved && event.preventDefault());
    addEventListener("storage", (event) => {
      if (!event.key?.startsWith("thinkaloud.outbox.")) return;
      from.onChange();
      // The page that it belongs to sends it, unless that is closed first.
      if (event.newValue) setTimeout(() => this.flush(), SEND_AGAIN);
    });
  }

  get isEmpty() {
    return this.#from.outbox.items().length === 0;
  }

  /** @param {{message: string, files: FileData[], agent_name: string, enable_reasoning: boolean, way?: Way}} message */
  send(message) {
    const { outbox, connection, onChange } = this.#from;
    const { client_message_id: id } = outbox.add({ ...message, at: Date.now() });
    if (!outbox.isSaved) notice("not-saved", { title: SENTENCES.notSaved, tone: "wait", icon: "warn" });
    this.flush();
    onChange();
    setTimeout(onChange, SOON + 20);
    setTimeout(() => outbox.has(id) && connection.nudge(), ANSWER_WITHIN);
  }

  /** Send the messages that have not been sent over this connection, if it accepts any. */
  flush() {
    const { outbox, connection, hasJoined } = this.#from;
    if (!connection.isOpen && !(connection.takesEarly && hasJoined())) return;
    for (const { client_message_id, message, files = [], agent_name, enable_reasoning, way } of outbox.unsent()) {
      const asked = { message, files: files.map((file) => file.id), agent_name, enable_reasoning, client_message_id };
      const steering = { message, client_message_id, interrupt: way === "now" };
      const isSent = way ? connection.send("steer", steering) : connection.send("chat", asked);
      // What was not tried can be taken back.
      if (!isSent) return;
      outbox.markSent(client_message_id);
    }
  }

  /**
   * Take back a message that is not being sent.
   *
   * @param {string} id
   * @param {string|null} text put into the message box, to be written anew
   */
  remove(id, text) {
    const { outbox, onChange, giveBack } = this.#from;
    const item = outbox.items().find((one) => one.client_message_id === id);
    // Another page may just have sent it, or taken it back.
    if (!item || (item.tried && !item.error)) return;
    outbox.remove(id);
    this.#closeIfSaved();
    onChange();
    if (text !== null) giveBack(text, item.files);
  }

  /** @param {string} id */
  accepted(id) {
    this.#from.outbox.remove(id);
    this.#closeIfSaved();
    this.#from.onChange();
  }

  /** Send messages without an answer again. */
  again() {
    this.#from.outbox.forgetSent();
    this.#from.onChange();
  }

  /**
   * The server has refused something. Returns whether it was a message of this page.
   *
   * @param {{code: string, message: string, client_message_id?: string}} error
   */
  refused({ code, message, client_message_id: id }) {
    const { outbox, onChange } = this.#from;
    if (!id || !outbox.has(id)) return false;
    if (code === "storage") {
      // It is not known whether it was accepted. With the same id it is not accepted twice.
      setTimeout(() => {
        outbox.forgetSending(id);
        this.flush();
      }, SEND_AGAIN);
    } else outbox.refuse(id, { code, message });
    onChange();
    return true;
  }

  /**
   * The connection has changed.
   *
   * @param {Link} link
   */
  linked({ word, code }) {
    const { outbox } = this.#from;
    if (word === "waiting" || word === "connecting") outbox.forgetSent();
    if (word === "live" || word === "polling") this.flush();
    if (word === "waiting" && code === CLOSE.TOO_LARGE) refuseLongest(outbox);
  }

  /** The last message, whether or not it can be taken back. */
  get last() {
    return this.#from.outbox.items().at(-1);
  }

  /**
   * The messages to show: not those that will be accepted in the next instant.
   *
   * @returns {UnsentMessage[]}
   */
  get shown() {
    const { outbox, connection } = this.#from;
    const { isOpen } = connection;
    return outbox
      .items()
      .filter((item) => item.error || !isOpen || Date.now() - item.at > SOON)
      .map((item) => ({
        ...item,
        label: item.error ? SENTENCES.refused : isOpen ? SENTENCES.sending : SENTENCES.notSent,
        // A message that may have been accepted can only be removed from the queue, once it is known to be there.
        isOnItsWay: Boolean(item.tried && !item.error),
      }));
  }

  /** All messages that are left would survive a reload. */
  #closeIfSaved() {
    if (this.#from.outbox.isSaved) closeNotice("not-saved");
  }
}

/**
 * The connection was closed because of a message over the size limit, which would close the next one, too.
 *
 * @param {Outbox} outbox
 */
function refuseLongest(outbox) {
  const tried = outbox.items().filter((item) => item.tried && !item.error);
  const longest = tried.sort((a, b) => b.message.length - a.message.length)[0];
  if (longest) outbox.refuse(longest.client_message_id, { code: "too_large", message: SENTENCES.farTooLong });
}
