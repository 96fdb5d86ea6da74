/**
 * The live connection: one state word from a frozen list, reconnecting by itself.
 *
 * Everything it needs from outside is handed in (WebSocket, clock, random, network state), so that tests run it without any.
 * It knows nothing of the document and nothing of what frames mean beyond their order.
 */

import { CLOSE, STORED } from "../protocol.js";

export const STATES = Object.freeze([
  "idle",
  "connecting",
  "catching_up",
  "live",
  "waiting",
  "offline",
  "blocked",
  "logged_out",
  "gone",
  "closed",
]);

export const TIMES = Object.freeze({
  firstRetry: 300,
  longestRetry: 15_000,
  stable: 60_000,
  ping: 20_000,
  silence: 30_000,
  ackAfter: 250,
  open: 10_000,
  beat: 1_000,
});

const ACK_EVERY = 100;
/** Closed by these, the connection is opened again at once. @type {(number|undefined)[]} */
const AT_ONCE = [CLOSE.RESTARTING, CLOSE.TOO_SLOW, CLOSE.SILENT];
/** Tries that never opened, after which the network is taken to block live connections. */
const BLOCKED_AFTER = 3;

/** @import { Frame, Link, Transport } from "../state/types.js" */

/**
 * @param {object} from
 * @param {(cursor: {seq: number, id: string|null}) => string} from.url
 * @param {() => {seq: number, id: string|null}} from.cursor the last event that the page holds
 * @param {(frame: Frame) => void} from.onFrame
 * @param {(link: Link) => void} from.onState called at every change of the word
 * @param {new (url: string) => WebSocket} [from.WebSocket]
 * @param {{now(): number, later(run: () => void, ms: number): any, cancel(timer: any): void}} [from.clock]
 * @param {() => number} [from.random]
 * @param {() => boolean} [from.isOnline]
 * @returns {Transport}
 */
export function createSocket({
  url,
  cursor,
  onFrame,
  onState,
  WebSocket = globalThis.WebSocket,
  clock = { now: () => Date.now(), later: (run, ms) => setTimeout(run, ms), cancel: (timer) => clearTimeout(timer) },
  random = Math.random,
  isOnline = () => true,
}) {
  /** @type {WebSocket|null} */
  let socket = null;
  /** @type {Link & {from?: number}} */
  let state = { word: "idle" };
  let failures = 0;
  let neverOpened = 0;
  let everOpened = false;
  let head = 0;
  let heardAt = 0;
  let pingedAt = 0;
  let unacked = 0;
  /** @type {any} */
  let retryTimer = null;
  /** @type {any} */
  let ackTimer = null;
  /** @type {any} */
  let pulse = null;
  /** @type {any} */
  let stableTimer = null;
  /** @type {any} */
  let openTimer = null;

  /**
   * @param {string} word
   * @param {Partial<Link> & {from?: number}} [more]
   */
  function become(word, more = {}) {
    state = { word, ...more };
    onState(state);
  }

  function open() {
    clear();
    drop();
    if (!isOnline()) {
      become("offline");
      return;
    }
    become("connecting");
    /** @type {WebSocket} */
    let mine;
    try {
      mine = new WebSocket(url(cursor()));
    } catch {
      neverOpened += 1;
      retry();
      return;
    }
    socket = mine;
    openTimer = clock.later(() => {
      if (socket === mine) lost({ code: 1006 });
    }, TIMES.open);
    mine.onopen = () => {
      if (socket !== mine) return;
      everOpened = true;
      neverOpened = 0;
      heardAt = clock.now();
      pingedAt = heardAt;
      unacked = 0;
      beat();
    };
    mine.onmessage = (event) => {
      if (socket === mine) heard(event.data);
    };
    mine.onclose = (event) => {
      if (socket === mine) lost(event);
    };
    mine.onerror = () => {};
  }

  /** @param {string} text */
  function heard(text) {
    heardAt = clock.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame.type === "session") {
      head = frame.data.last_seq;
      clock.cancel(openTimer);
      stableTimer ??= clock.later(() => {
        failures = 0;
      }, TIMES.stable);
    }
    onFrame(frame);
    if (STORED.includes(frame.type) && Number.isInteger(frame.seq)) storedCame();
    if (frame.type === "session" || state.word === "catching_up") progress();
  }

  function progress() {
    const { seq } = cursor();
    if (seq >= head) {
      if (state.word !== "live") become("live");
      return;
    }
    const from = (state.word === "catching_up" ? state.from : null) ?? seq;
    become("catching_up", { from, done: seq - from, total: head - from });
  }

  function storedCame() {
    unacked += 1;
    if (unacked >= ACK_EVERY) ack();
    else ackTimer ??= clock.later(ack, TIMES.ackAfter);
  }

  function ack() {
    clock.cancel(ackTimer);
    ackTimer = null;
    if (unacked > 0 && send("ack", { seq: cursor().seq })) unacked = 0;
  }

  /** A ping every 20 s; no word 10 s after one means that the connection is dead, however late this timer ran. */
  function beat() {
    pulse = clock.later(() => {
      const since = clock.now() - pingedAt;
      if (heardAt < pingedAt && since >= TIMES.silence - TIMES.ping) {
        lost({ code: 1006 });
        return;
      }
      if (since >= TIMES.ping) ping();
      beat();
    }, TIMES.beat);
  }

  function ping() {
    pingedAt = clock.now();
    send("ping", {});
  }

  /** @param {{code: number}} close */
  function lost({ code }) {
    drop();
    if (code === CLOSE.NOT_LOGGED_IN) {
      become("logged_out");
    } else if (code === CLOSE.WITHDRAWN || code === CLOSE.NO_SUCH_SESSION) {
      become("gone", { code });
    } else {
      if (!everOpened) neverOpened += 1;
      retry(code);
    }
  }

  /** @param {number} [code] */
  function retry(code) {
    if (!isOnline()) {
      become("offline");
      return;
    }
    if (neverOpened >= BLOCKED_AFTER) {
      become("blocked");
      return;
    }
    const ceiling = Math.min(TIMES.longestRetry, TIMES.firstRetry * 2 ** failures);
    const atOnce = AT_ONCE.includes(code) && failures === 0;
    // Full jitter, so that a thousand pages do not come back in the same instant.
    let wait = atOnce ? random() * TIMES.firstRetry : ceiling / 2 + (random() * ceiling) / 2;
    if (code === CLOSE.TOO_MANY) wait = Math.max(wait, TIMES.longestRetry / 2);
    failures += 1;
    become("waiting", { until: clock.now() + wait, code });
    retryTimer = clock.later(open, wait);
  }

  function drop() {
    clock.cancel(pulse);
    clock.cancel(ackTimer);
    clock.cancel(stableTimer);
    clock.cancel(openTimer);
    ackTimer = stableTimer = openTimer = pulse = null;
    const old = socket;
    socket = null;
    if (old !== null) {
      old.onopen = old.onmessage = old.onclose = old.onerror = null;
      old.close();
    }
  }

  function clear() {
    clock.cancel(retryTimer);
    retryTimer = null;
  }

  /**
   * Send a command; false where the connection is not open.
   *
   * @param {string} type
   * @param {object} payload
   */
  function send(type, payload) {
    if (socket === null || socket.readyState !== 1) return false;
    socket.send(JSON.stringify({ type, payload }));
    return true;
  }

  return {
    open,
    send,
    /** Ask for everything after what one has, where frames were missed. */
    resume() {
      const { seq, id } = cursor();
      return send("resume", { last_seq: seq, ...(id ? { last_id: id } : {}) });
    },
    /** The network is back, or the page is looked at again: try at once, or make sure the connection lives. */
    nudge() {
      // Whoever was logged out may have logged in again, here or in another tab.
      if (["waiting", "offline", "logged_out"].includes(state.word)) {
        failures = Math.min(failures, 1);
        open();
      } else if (socket !== null && socket.readyState === 1 && clock.now() - heardAt > 5_000) {
        ping();
      }
    },
    /** The network is gone: say so, and don't try. */
    offline() {
      clear();
      drop();
      become("offline");
    },
    close() {
      clear();
      drop();
      become("closed");
    },
    /** Forget earlier failures and try again. */
    again() {
      neverOpened = 0;
      failures = 0;
      open();
    },
    get state() {
      return state;
    },
    get isOpen() {
      return ["live", "catching_up"].includes(state.word);
    },
  };
}
