/**
 * The fallback for the live connection, if that is blocked or switched off: polls the API.
 */

import { SENTENCES } from "../state/messages.js";
import { ApiError } from "./api.js";

/** @import { Frame, Link, Transport } from "../state/types.js" */
/** @import { Api } from "./api.js" */

export const POLL = Object.freeze({ busy: 1_000, idle: 3_000, hidden: 10_000, longest: 15_000 });

/** @typedef {{later(run: () => void, ms: number): any, cancel(timer: any): void}} Timers */

/** @type {Timers} */
const TIMERS = { later: (run, ms) => setTimeout(run, ms), cancel: (timer) => clearTimeout(timer) };

/**
 * Has the methods of a socket, and passes on the same frames. Drafts are not in the log, so a step appears when it is finished.
 *
 * @implements {Transport}
 */
export class PollingTransport {
  #from;
  #commands;
  /** @type {any} */
  #timer = null;
  #word = "idle";
  #failures = 0;
  #isRunning = false;
  /** Whether the session is busy, so that new events can be expected soon. */
  #isBusy = false;
  #isAsking = false;
  /** The state that was reported last, as JSON. */
  #reported = "";

  /**
   * @param {object} from
   * @param {Pick<Api, "events"|"send"|"steer"|"cancel"|"continueRun">} from.api
   * @param {string} from.session
   * @param {() => object} from.page what a frame says of the session that the API does not
   * @param {() => {seq: number}} from.cursor the last event that the page holds
   * @param {(frame: Frame) => void} from.onFrame
   * @param {(link: Link) => void} from.onState
   * @param {Timers} [from.clock]
   * @param {() => boolean} [from.isHidden]
   * @param {() => boolean} [from.isOnline]
   */
  constructor({ clock = TIMERS, isHidden = () => false, isOnline = () => true, ...from }) {
    this.#from = { ...from, clock, isHidden, isOnline };
    this.#commands = commandsOver(from.api, from.session);
  }

  open() {
    this.#isRunning = true;
    this.#become("connecting");
    void this.#poll();
  }

  /**
   * Send a command; false for an unknown command, or after closing.
   *
   * @param {string} type
   * @param {any} payload
   */
  send(type, payload) {
    if (!(type in this.#commands) || !this.#isRunning) return false;
    void this.#execute(type, payload);
    return true;
  }

  resume() {
    void this.#poll();
    return true;
  }

  nudge() {
    this.#failures = 0;
    // A logged-out reader may have logged in again, here or in another tab.
    if (this.#word === "logged_out") this.#isRunning = true;
    void this.#poll();
  }

  offline() {
    this.#become("offline");
    this.#wait(this.#pause);
  }

  close() {
    this.#isRunning = false;
    this.#wait(null);
    this.#become("closed");
  }

  get state() {
    return { word: this.#word };
  }

  get isOpen() {
    return this.#word === "polling";
  }

  /**
   * @param {string} word
   * @param {Partial<Link>} [more]
   */
  #become(word, more = {}) {
    const state = JSON.stringify([word, more]);
    this.#word = word;
    if (state === this.#reported) return;
    this.#reported = state;
    this.#from.onState({ word, ...more });
  }

  /**
   * Poll after so many milliseconds; null for never.
   *
   * @param {number|null} pause
   */
  #wait(pause) {
    const { clock } = this.#from;
    clock.cancel(this.#timer);
    this.#timer = pause === null ? null : clock.later(() => this.#poll(), pause);
  }

  async #poll() {
    this.#wait(null);
    if (!this.#isRunning || this.#isAsking) return;
    // Poll anyway: the browser can be wrong, and a server on this machine needs no network.
    if (!this.#from.isOnline() && this.#word !== "polling") this.#become("offline");
    this.#isAsking = true;
    let hasMore = false;
    try {
      hasMore = await this.#ask();
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#isAsking = false;
    }
    if (this.#isRunning) this.#wait(hasMore ? 0 : this.#pause);
  }

  /** Pass on new events. Returns whether there are more. */
  async #ask() {
    const { api, session, page, cursor, onFrame } = this.#from;
    const before = cursor().seq;
    const answer = await api.events(session, before);
    if (!this.#isRunning) return false;
    this.#failures = 0;
    const isReset = answer.last_seq < before;
    const { last_seq, run, queue, children, steering, notes } = answer;
    const data = { ...page(), session_id: session, last_seq, run, queue, children, steering, ...(notes ? { notes } : {}) };
    onFrame(/** @type {Frame} */ ({ type: "session", data: isReset ? { ...data, reset: true } : data }));
    for (const frame of answer.events) onFrame(frame);
    this.#isBusy = answer.run !== null || answer.queue.length > 0;
    this.#become("polling", { seconds: Math.round(this.#pause / 1000) });
    return isReset || cursor().seq < answer.last_seq;
  }

  /** @param {unknown} error */
  #failed(error) {
    this.#failures += 1;
    if (error instanceof ApiError && error.status === 401) {
      this.#isRunning = false;
      this.#become("logged_out");
    } else if (error instanceof ApiError && (error.status === 404 || error.status === 403)) {
      this.#isRunning = false;
      this.#become("gone");
    } else if (this.#from.isOnline()) {
      this.#become("waiting", { until: null });
    } else {
      this.#become("offline");
    }
  }

  /** Milliseconds between two polls. */
  get #pause() {
    if (this.#failures) return Math.min(POLL.longest, POLL.busy * 2 ** this.#failures);
    if (this.#from.isHidden()) return POLL.hidden;
    return this.#isBusy ? POLL.busy : POLL.idle;
  }

  /**
   * @param {string} type
   * @param {any} payload
   */
  async #execute(type, payload) {
    const { onFrame } = this.#from;
    const { client_message_id } = payload;
    try {
      const frame = await this.#commands[type](payload);
      if (frame) onFrame(frame);
    } catch (error) {
      if (!isRefusal(error)) {
        this.#failed(error);
        onFrame({ type: "unsent", data: { client_message_id } });
        this.#wait(this.#isRunning ? this.#pause : null);
        return;
      }
      const data = { code: error.code, message: error.message || SENTENCES.failedRequest, client_message_id };
      onFrame(/** @type {Frame} */ ({ type: "error", data }));
    }
    this.#isBusy = true;
    await this.#poll();
  }
}

/**
 * The call for each command; each returns the frame that the socket would answer with.
 *
 * @param {Pick<Api, "send"|"steer"|"cancel"|"continueRun">} api
 * @param {string} session
 * @returns {Record<string, (payload: any) => Promise<Frame|null>>}
 */
function commandsOver(api, session) {
  return {
    async chat(payload) {
      const answer = await api.send(session, payload);
      return { type: "accepted", data: { client_message_id: payload.client_message_id, ...answer } };
    },
    async steer(payload) {
      const answer = await api.steer(session, payload);
      return { type: "accepted", data: { client_message_id: payload.client_message_id, ...answer } };
    },
    async cancel(payload) {
      if (payload.run_id) await api.cancel(payload.run_id);
      return null;
    },
    async continue({ run_id, client_message_id }) {
      const answer = await api.continueRun(run_id, { client_message_id });
      return { type: "accepted", data: { client_message_id, queued: 0, ...answer } };
    },
  };
}

/**
 * Whether the server itself has refused. After a proxy's answer, or none, it is unknown whether the message was accepted.
 *
 * @param {unknown} error
 * @returns {error is ApiError}
 */
function isRefusal(error) {
  if (!(error instanceof ApiError) || [401, 408, 502, 504].includes(error.status)) return false;
  return error.message !== "" || error.status < 500;
}
