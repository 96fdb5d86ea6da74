/**
 * Calls of the API.
 */

import { errorText } from "../lib/gettext.js";
import { pathTo } from "./addresses.js";

/** A refusal by the API, with a message for people. */
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

/**
 * What a failed call is told in: the server's words, or these where it has sent none. A browser's own error is not for people.
 *
 * @param {unknown} error
 * @param {string} otherwise
 */
export function messageOf(error, otherwise) {
  return (error instanceof ApiError && error.message) || otherwise;
}

/** The CSRF token: read when it is needed, because a login makes a new one. */
export function csrfToken() {
  return document.cookie.match(/(?:^|;\s*)csrftoken=([^;]*)/u)?.[1] ?? "";
}

/** Milliseconds after which an answer counts as lost. Calls that are repeated are executed only once. */
const PATIENCE = 30_000;

/**
 * What is not there any more is deleted: the answer to an earlier call may have been lost.
 *
 * @param {unknown} error
 */
function missing(error) {
  if (!(error instanceof ApiError && error.status === 404)) throw error;
}

/** @typedef {ReturnType<typeof createApi>} Api */

/**
 * Calls of the API. Each returns the API's answer, or throws an `ApiError`; or another error if there is no answer.
 *
 * @param {object} from
 * @param {typeof globalThis.fetch} [from.fetch]
 * @param {() => string} [from.token]
 * @param {string} [from.user] the user that the page was rendered for; if another user has logged in since, requests are refused
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
    remove: (session) => call("DELETE", `sessions/${session}/`).catch(missing),
    /**
     * @param {string} session
     * @param {number} after
     * @param {number} limit
     */
    events: (session, after, limit = 200) => call("GET", `sessions/${session}/events/?after=${after}&limit=${limit}`),
    /**
     * What would be hidden in a file of the session.
     *
     * @param {string} session
     * @returns {Promise<{count: number, places: {seq: number|null, tool: string, excerpt: string}[]}>}
     */
    exportPreview: (session) => call("GET", `sessions/${session}/export/preview/`),
    /** @param {object} trajectory an ATIF document */
    importSession: (trajectory) => call("POST", "sessions/import/", trajectory),
    /** @param {string} session @param {number} seq @returns {Promise<{items: any[]}>} */
    comments: (session, seq) => call("GET", `sessions/${session}/comments/?seq=${seq}&limit=1000`),
    /** @param {string} session @param {number} seq @param {string} text */
    comment: (session, seq, text) => call("POST", `sessions/${session}/comments/`, { seq, text }),
    /** @param {string} comment @param {string} text */
    editComment: (comment, text) => call("PATCH", `comments/${comment}/`, { text }),
    /** @param {string} comment */
    deleteComment: (comment) => call("DELETE", `comments/${comment}/`).catch(missing),
    /** @param {string} run @param {"good"|"bad"|null} verdict @param {string} reason */
    judge: (run, verdict, reason) => call("PUT", `runs/${run}/verdict/`, { verdict, reason }),
    /** @param {string} run @returns {Promise<{items: {user: string, verdict: string, reason: string}[]}>} */
    verdicts: (run) => call("GET", `runs/${run}/verdict/`),
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
     * Send a steering message to the running run.
     *
     * @param {string} session
     * @param {object} payload
     */
    steer: (session, payload) => call("POST", `sessions/${session}/steer/`, payload),
    /**
     * Take one back that no model has read.
     *
     * @param {string} session
     * @param {string} id
     */
    unsteer: (session, id) => call("POST", `sessions/${session}/unsteer/`, { client_message_id: id }),
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
