/**
 * The same over HTTP: single calls, and a stand-in for the live connection where that is blocked or not wanted.
 */

import { errorText } from "../lib/gettext.js";
import { pathTo } from "./addresses.js";
import { SENTENCES } from "../state/messages.js";

/** @import { Frame, Link, Transport } from "../state/types.js" */

/** A refusal of the API, with its words for people. */
export class ApiError extends Error {
  /**
   * @param {number} status of HTTP
   * @param {string} code see protocol.js
   * @param {string} message for people
   */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The token that proves that a request comes from a page of ours: read when it is needed, because logging in makes a new one. */
export function csrfToken() {
  return document.cookie.match(/(?:^|;\s*)csrftoken=([^;]*)/u)?.[1] ?? "";
}

/** Milliseconds after which an answer is taken for lost. What is asked twice is not done twice. */
const PATIENCE = 30_000;

/** @typedef {ReturnType<typeof createApi>} Api */

/**
 * Calls of the API. Each returns what the API answers, or throws an `ApiError`; or another error, where there is no answer.
 *
 * @param {object} from
 * @param {typeof globalThis.fetch} [from.fetch]
 * @param {() => string} [from.token]
 * @param {string} [from.user] whom the page was made for; where somebody else has logged in since, what it asks for is refused
 */
export function createApi({ fetch = globalThis.fetch.bind(globalThis), token = csrfToken, user = "" }) {
  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @param {Record<string, string>} [headers]
   * @returns {Promise<any>}
   */
  async function call(method, path, body, headers = {}) {
    const response = await fetch(pathTo(`api/${path}`), {
      method,
      credentials: "same-origin",
      headers: {
        Accept: "application/json",
        ...(method === "GET" ? {} : { "X-CSRFToken": token() }),
        ...(user ? { "X-Page-User": user } : {}),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      signal: AbortSignal.timeout(PATIENCE),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    let data;
    try {
      data = text ? JSON.parse(text) : null;
    } catch {
      data = null;
    }
    if (!response.ok) {
      throw new ApiError(response.status, data?.error?.code ?? "internal", errorText(data?.error ?? {}));
    }
    return data;
  }

  return {
    /**
     * @param {object} choice
     * @param {string} key makes it safe to ask again where the answer was lost: the same key gets the same session
     */
    createSession: (choice, key) => call("POST", "sessions/", choice, { "Idempotency-Key": key }),
    /**
     * @param {string} session
     * @param {object} changes
     */
    change: (session, changes) => call("PATCH", `sessions/${session}/`, changes),
    /** @param {string} session */
    remove: (session) => call("DELETE", `sessions/${session}/`),
    /**
     * @param {string} session
     * @param {number} after
     * @param {number} limit
     */
    events: (session, after, limit = 200) => call("GET", `sessions/${session}/events/?after=${after}&limit=${limit}`),
    /** @param {string} session @param {object} payload */
    send: (session, payload) => call("POST", `sessions/${session}/messages/`, payload),
    /** @param {string} run */
    cancel: (run) => call("POST", `runs/${run}/cancel/`, {}),
    /** @param {string|number|null} after */
    notifications: (after) => call("GET", after === null ? "notifications/" : `notifications/?after=${after}`),
    /**
     * @param {string} run
     * @param {object} payload
     */
    continueRun: (run, payload = {}) => call("POST", `runs/${run}/continue/`, payload),
    /**
     * @param {string} session
     * @param {string} seq
     */
    async content(session, seq) {
      const response = await fetch(pathTo(`api/sessions/${session}/events/${seq}/content/`), { credentials: "same-origin" });
      if (!response.ok) throw new ApiError(response.status, "not_found", "");
      return response.text();
    },
  };
}

export const POLL = Object.freeze({ busy: 1_000, idle: 3_000, hidden: 10_000, longest: 15_000 });

/**
 * Asks again and again, with the methods of a socket: it hands over the very same frames.
 * What is being written has no place in the log, so a step appears when it is finished.
 *
 * @param {object} from
 * @param {Pick<ReturnType<typeof createApi>, "events"|"send"|"cancel"|"continueRun">} from.api
 * @param {string} from.session
 * @param {() => object} from.page what a frame says of the session that the API does not
 * @param {() => {seq: number}} from.cursor the last event that the page holds
 * @param {(frame: Frame) => void} from.onFrame
 * @param {(link: Link) => void} from.onState
 * @param {{later(run: () => void, ms: number): any, cancel(timer: any): void}} [from.clock]
 * @param {() => boolean} [from.isHidden]
 * @param {() => boolean} [from.isOnline]
 * @returns {Transport}
 */
export function createPolling({
  api,
  session,
  page,
  cursor,
  onFrame,
  onState,
  clock = { later: (run, ms) => setTimeout(run, ms), cancel: (timer) => clearTimeout(timer) },
  isHidden = () => false,
  isOnline = () => true,
}) {
  /** @type {any} */
  let timer = null;
  let word = "idle";
  let failures = 0;
  let running = false;
  let busy = false;
  let asking = false;
  let lastState = "";

  /**
   * @param {string} next
   * @param {Partial<Link>} [more]
   */
  function become(next, more = {}) {
    const key = JSON.stringify([next, more]);
    word = next;
    if (key === lastState) return;
    lastState = key;
    onState({ word: next, ...more });
  }

  async function poll() {
    clock.cancel(timer);
    timer = null;
    if (!running || asking) return;
    if (!isOnline()) {
      become("offline");
      return;
    }
    asking = true;
    let more = false;
    try {
      const before = cursor().seq;
      const answer = await api.events(session, before);
      if (!running) return;
      failures = 0;
      const reset = answer.last_seq < before;
      const data = { ...page(), session_id: session, last_seq: answer.last_seq, run: answer.run, queue: answer.queue, children: answer.children };
      onFrame(/** @type {Frame} */ ({ type: "session", data: reset ? { ...data, reset: true } : data }));
      for (const frame of answer.events) onFrame(frame);
      busy = answer.run !== null || answer.queue.length > 0;
      more = reset || cursor().seq < answer.last_seq;
      become("polling", { seconds: Math.round(pause() / 1000) });
    } catch (error) {
      failed(error);
    } finally {
      asking = false;
    }
    if (running) timer = clock.later(poll, more ? 0 : pause());
  }

  /** @param {unknown} error */
  function failed(error) {
    failures += 1;
    if (error instanceof ApiError && error.status === 401) {
      running = false;
      become("logged_out");
    } else if (error instanceof ApiError && (error.status === 404 || error.status === 403)) {
      running = false;
      become("gone");
    } else {
      become("waiting", { until: null });
    }
  }

  function pause() {
    if (failures) return Math.min(POLL.longest, POLL.busy * 2 ** failures);
    if (isHidden()) return POLL.hidden;
    return busy ? POLL.busy : POLL.idle;
  }

  /** What each command is as a call; returns the frame that the socket would answer with. @type {Record<string, (payload: any) => Promise<Frame|null>>} */
  const commands = {
    async chat(payload) {
      const answer = await api.send(session, payload);
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

  /**
   * @param {string} type
   * @param {any} payload
   */
  async function execute(type, payload) {
    try {
      const frame = await commands[type](payload);
      if (frame) onFrame(frame);
    } catch (error) {
      const { client_message_id } = payload;
      if (isRefusal(error)) {
        const data = { code: error.code, message: error.message || SENTENCES.failedRequest, client_message_id };
        onFrame(/** @type {Frame} */ ({ type: "error", data }));
      } else {
        failed(error);
        onFrame({ type: "unsent", data: { client_message_id } });
        clock.cancel(timer);
        if (running) timer = clock.later(poll, pause());
        return;
      }
    }
    busy = true;
    await poll();
  }

  /**
   * Whether the server itself has refused. A proxy's answer, or none, leaves open whether the message was accepted.
   *
   * @param {unknown} error
   * @returns {error is ApiError}
   */
  function isRefusal(error) {
    if (!(error instanceof ApiError) || [401, 408, 502, 504].includes(error.status)) return false;
    return error.message !== "" || error.status < 500;
  }

  return {
    open() {
      running = true;
      become("connecting");
      void poll();
    },
    send(type, payload) {
      if (!(type in commands) || !running) return false;
      void execute(type, payload);
      return true;
    },
    resume() {
      void poll();
      return true;
    },
    nudge() {
      failures = 0;
      // Whoever was logged out may have logged in again, here or in another tab.
      if (word === "logged_out") running = true;
      void poll();
    },
    offline() {
      clock.cancel(timer);
      become("offline");
    },
    close() {
      running = false;
      clock.cancel(timer);
      become("closed");
    },
    get state() {
      return { word };
    },
    get isOpen() {
      return word === "polling";
    },
  };
}
