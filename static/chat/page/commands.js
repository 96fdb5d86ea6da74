/**
 * A reader's commands on runs: stop one, continue one, remove one from the queue.
 */

import { newId } from "../lib/platform.js";
import { SENTENCES } from "../state/messages.js";
import { messageOf } from "../transport/api.js";
import { notice } from "../view/notices.js";

/** @import { FileData } from "../state/types.js" */
/** @import { Api } from "../transport/api.js" */
/** @import { Connection } from "./connection.js" */

/**
 * @param {object} from
 * @param {string} from.me the reader's name
 * @param {string} from.session
 * @param {Api} from.api
 * @param {Connection} from.connection
 * @param {(run: string, isStopping: boolean) => void} from.onStopping show that a run is being stopped, or that it is not
 * @param {(text: string, files?: FileData[]) => void} from.giveBack put a text back into the message box, and its files beside it
 */
export function createCommands({ me, session, api, connection, onStopping, giveBack }) {
  /** Runs that this page has asked to stop. @type {Set<string>} */
  const stops = new Set();
  /** Texts of messages that are being removed from the queue for editing, by their runs. @type {Map<string, string>} */
  const takingBack = new Map();
  /** Steering messages that are being taken back. */
  const takingWords = new Set();
  /** What to do if a request to continue is refused, by its id. @type {Map<string, () => void>} */
  const continuing = new Map();

  /**
   * Send over the open connection, else by a call of the API. Returns whether that worked.
   *
   * @param {string} type
   * @param {object} payload
   * @param {() => Promise<unknown>} call
   */
  async function send(type, payload, call) {
    if (connection.isOpen && connection.send(type, payload)) return true;
    try {
      await call();
      return true;
    } catch (error) {
      notice("refused", { title: messageOf(error, SENTENCES.offlineStop), tone: "wait", icon: "warn" });
      return false;
    }
  }

  return {
    /** @param {string} run */
    async stop(run) {
      stops.add(run);
      onStopping(run, true);
      if (await send("cancel", { run_id: run }, () => api.cancel(run))) return;
      stops.delete(run);
      onStopping(run, false);
    },
    /**
     * The reader's name if this page has asked to stop the run; null if not.
     *
     * @param {string} run
     */
    stopRequestedBy: (run) => (stops.has(run) ? me : null),
    /**
     * @param {string} run
     * @param {() => void} onFailed
     */
    async continueRun(run, onFailed) {
      const payload = { run_id: run, client_message_id: newId() };
      continuing.set(payload.client_message_id, onFailed);
      const { client_message_id } = payload;
      if (!(await send("continue", payload, () => api.continueRun(run, { client_message_id })))) onFailed();
    },
    /**
     * @param {string} run
     * @param {string|null} text given back once the log says that the run was removed, to be written anew
     */
    async removeQueued(run, text) {
      if (text !== null) takingBack.set(run, text);
      if (!(await send("cancel", { run_id: run }, () => api.cancel(run)))) takingBack.delete(run);
    },
    /**
     * @param {string} id
     * @param {string|null} text
     */
    async takeBackWord(id, text) {
      if (takingWords.has(id)) return;
      takingWords.add(id);
      await takeBackWord({ session, api, giveBack }, id, text);
      takingWords.delete(id);
    },
    /** @param {string} id */
    accepted(id) {
      continuing.delete(id);
    },
    /**
     * The server has refused something; `id` is that of a request to continue, if it was one.
     *
     * @param {string} code
     * @param {string|undefined} id
     */
    refused(code, id) {
      if (id) {
        continuing.get(id)?.();
        continuing.delete(id);
      }
      if (code === "nothing_to_cancel") stops.clear();
    },
    /**
     * A run has ended. Its text is given back only if the log says that it was removed from the queue: otherwise it would be asked twice.
     *
     * @param {string} run
     * @param {string} status
     * @param {FileData[]} files those of its message
     */
    ended(run, status, files) {
      stops.delete(run);
      const text = takingBack.get(run);
      takingBack.delete(run);
      if (text !== undefined && status === "cancelled") giveBack(text, files);
    },
  };
}

/**
 * Take back a steering message that no model has read.
 *
 * @param {{session: string, api: Api, giveBack: (text: string) => void}} from
 * @param {string} id
 * @param {string|null} text given back once it is sure that it was not read, to be written anew
 */
async function takeBackWord({ session, api, giveBack }, id, text) {
  try {
    await api.unsteer(session, id);
    if (text !== null) giveBack(text);
  } catch (error) {
    notice("refused", { title: messageOf(error, SENTENCES.failedRequest), tone: "wait", icon: "warn" });
  }
}
