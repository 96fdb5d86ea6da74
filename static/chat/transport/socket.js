/**
 * The live connection: its state is one word from a frozen list, and it reconnects automatically.
 *
 * Everything from outside is passed in (WebSocket, clock, random, network state), so that tests need none of it. It knows nothing about the
 * document, and about frames only their order.
 */

import { steadyNow } from "../lib/steady-time.js";
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
  quiet: 5_000,
});

const ACK_EVERY = 100;
/** After these close codes, the connection is opened again immediately. @type {(number|undefined)[]} */
const AT_ONCE = [CLOSE.RESTARTING, CLOSE.TOO_SLOW, CLOSE.SILENT];
/** After this many attempts that never opened, the network is assumed to block live connections. */
const BLOCKED_AFTER = 3;

/** @import { Frame, Link, Transport } from "../state/types.js" */

/** @typedef {{now(): number, later(run: () => void, ms: number): any, cancel(timer: any): void}} Clock */

/** @type {Clock} */
const CLOCK = { now: steadyNow, later: (run, ms) => setTimeout(run, ms), cancel: (timer) => clearTimeout(timer) };

/** @implements {Transport} */
export class SocketTransport {
  #from;
  #retries;
  #heartbeat;
  #acks;
  /** @type {WebSocket|null} */
  #socket = null;
  /** @type {Link & {from?: number}} */
  #state = { word: "idle" };
  /** The number of the session's last event, as the server reported it when the connection opened. */
  #head = 0;
  /** @type {any} */
  #retryTimer = null;
  /** @type {any} */
  #openTimer = null;

  /**
   * @param {object} from
   * @param {(cursor: {seq: number, id: string|null}) => string} from.url
   * @param {() => {seq: number, id: string|null}} from.cursor the last event that the page holds
   * @param {(frame: Frame) => void} from.onFrame
   * @param {(link: Link) => void} from.onState called at every change of the word
   * @param {new (url: string) => WebSocket} [from.WebSocket]
   * @param {Clock} [from.clock]
   * @param {() => number} [from.random]
   * @param {() => boolean} [from.isOnline]
   */
  constructor({ WebSocket = globalThis.WebSocket, clock = CLOCK, random = Math.random, isOnline = () => true, ...from }) {
    this.#from = { ...from, WebSocket, clock, isOnline };
    this.#retries = createRetries({ clock, random });
    this.#heartbeat = createHeartbeat({ clock, ping: () => this.send("ping", {}), onSilent: () => this.#lost(1006) });
    this.#acks = createAcks({ clock, ack: () => this.send("ack", { seq: from.cursor().seq }) });
  }

  open() {
    this.#clear();
    this.#drop();
    if (!this.#from.isOnline()) {
      this.#wait();
      return;
    }
    this.#become("connecting");
    this.#connect();
  }

  #connect() {
    const { url, cursor, clock, WebSocket } = this.#from;
    try {
      this.#socket = new WebSocket(url(cursor()));
    } catch {
      this.#lost(1006);
      return;
    }
    this.#openTimer = clock.later(() => this.#lost(1006), TIMES.open);
    this.#listen(this.#socket);
  }

  /**
   * Send a command; false if the connection is not open.
   *
   * @param {string} type
   * @param {object} payload
   */
  send(type, payload) {
    if (this.#socket === null || this.#socket.readyState !== 1) return false;
    this.#socket.send(JSON.stringify({ type, payload }));
    return true;
  }

  /** Request everything after the last event, because frames were missed. */
  resume() {
    const { seq, id } = this.#from.cursor();
    return this.send("resume", { last_seq: seq, ...(id ? { last_id: id } : {}) });
  }

  /** The network is back, or the page is visible again: try immediately, or check that the connection works. */
  nudge() {
    // A logged-out reader may have logged in again, here or in another tab.
    if (["waiting", "offline", "logged_out"].includes(this.#state.word)) {
      this.#retries.retrySoon();
      this.open();
    } else if (this.#socket !== null && this.#socket.readyState === 1) {
      this.#heartbeat.nudge();
    }
  }

  /** The browser reports that there is no network. */
  offline() {
    this.#clear();
    this.#drop();
    this.#wait();
  }

  close() {
    this.#clear();
    this.#drop();
    this.#become("closed");
  }

  /** Forget earlier failures and try again. */
  again() {
    this.#retries.forget();
    this.open();
  }

  get state() {
    return this.#state;
  }

  get isOpen() {
    return ["live", "catching_up"].includes(this.#state.word);
  }

  /**
   * @param {string} word
   * @param {Partial<Link> & {from?: number}} [more]
   */
  #become(word, more = {}) {
    this.#state = { word, ...more };
    this.#from.onState(this.#state);
  }

  /**
   * Handle the events of a connection until it is dropped.
   *
   * @param {WebSocket} socket
   */
  #listen(socket) {
    const isCurrent = () => this.#socket === socket;
    socket.onopen = () => {
      if (!isCurrent()) return;
      this.#retries.opened();
      this.#acks.begin();
      this.#heartbeat.begin();
    };
    socket.onmessage = (event) => isCurrent() && this.#receive(event.data);
    socket.onclose = (event) => isCurrent() && this.#lost(event.code);
  }

  /** @param {string} text */
  #receive(text) {
    this.#heartbeat.received();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame.type === "session") {
      this.#head = frame.data.last_seq;
      this.#from.clock.cancel(this.#openTimer);
      this.#retries.joined();
    }
    this.#from.onFrame(frame);
    if (STORED.includes(frame.type) && Number.isInteger(frame.seq)) this.#acks.add();
    if (frame.type === "session" || this.#state.word === "catching_up") this.#progress();
  }

  #progress() {
    const { seq } = this.#from.cursor();
    const { word, from: begun } = this.#state;
    if (seq >= this.#head) {
      if (word !== "live") this.#become("live");
      return;
    }
    const from = (word === "catching_up" ? begun : null) ?? seq;
    this.#become("catching_up", { from, done: seq - from, total: this.#head - from });
  }

  /** @param {number} code why, see protocol.js */
  #lost(code) {
    this.#drop();
    if (code === CLOSE.NOT_LOGGED_IN) {
      this.#become("logged_out");
    } else if (code === CLOSE.WITHDRAWN || code === CLOSE.NO_SUCH_SESSION) {
      this.#become("gone", { code });
    } else if (this.#from.isOnline()) {
      this.#retries.lost();
      this.#retry(code);
    } else {
      this.#wait();
    }
  }

  /**
   * The browser reports no network: show that, and still try now and then. It can be wrong, and a server on this machine needs none.
   */
  #wait() {
    if (this.#state.word !== "offline") this.#become("offline");
    this.#retryTimer = this.#from.clock.later(() => this.#connect(), this.#retries.pause());
  }

  /** @param {number} [code] */
  #retry(code) {
    const { clock } = this.#from;
    if (this.#retries.isBlocked) {
      this.#become("blocked");
    } else {
      const wait = this.#retries.pause(code);
      this.#become("waiting", { until: clock.now() + wait, code });
      this.#retryTimer = clock.later(() => this.open(), wait);
    }
  }

  /** Drop the connection: its events are ignored from now on. */
  #drop() {
    this.#heartbeat.end();
    this.#acks.end();
    this.#retries.left();
    this.#from.clock.cancel(this.#openTimer);
    const old = this.#socket;
    this.#socket = null;
    this.#openTimer = null;
    old?.close();
  }

  #clear() {
    this.#from.clock.cancel(this.#retryTimer);
    this.#retryTimer = null;
  }
}

/**
 * How often the connection has failed, and so how long to wait before the next attempt.
 *
 * @param {object} from
 * @param {Clock} from.clock
 * @param {() => number} from.random
 */
function createRetries({ clock, random }) {
  let failures = 0;
  let neverOpened = 0;
  let hasOpened = false;
  /** @type {any} */
  let stableTimer = null;

  return {
    opened() {
      hasOpened = true;
      neverOpened = 0;
    },
    /** The server has answered. A connection that lasts for a while makes up for earlier failures. */
    joined() {
      stableTimer ??= clock.later(() => (failures = 0), TIMES.stable);
    },
    left() {
      clock.cancel(stableTimer);
      stableTimer = null;
    },
    lost() {
      if (!hasOpened) neverOpened += 1;
    },
    /** Whether the network seems to block live connections. */
    get isBlocked() {
      return neverOpened >= BLOCKED_AFTER;
    },
    /**
     * Milliseconds before the next attempt.
     *
     * @param {number} [code] why the last one ended
     */
    pause(code) {
      const ceiling = Math.min(TIMES.longestRetry, TIMES.firstRetry * 2 ** failures);
      const atOnce = AT_ONCE.includes(code) && failures === 0;
      // Full jitter, so that a thousand pages do not reconnect at the same moment.
      const wait = atOnce ? random() * TIMES.firstRetry : ceiling / 2 + (random() * ceiling) / 2;
      failures += 1;
      return code === CLOSE.TOO_MANY ? Math.max(wait, TIMES.longestRetry / 2) : wait;
    },
    retrySoon() {
      failures = Math.min(failures, 1);
    },
    forget() {
      neverOpened = 0;
      failures = 0;
    },
  };
}

/**
 * A ping every 20 s; without any frame for 10 s after one, the connection is dead, however late this timer ran.
 *
 * @param {object} from
 * @param {Clock} from.clock
 * @param {() => void} from.ping
 * @param {() => void} from.onSilent the connection is dead
 */
function createHeartbeat({ clock, ping, onSilent }) {
  let receivedAt = 0;
  let pingedAt = 0;
  /** @type {any} */
  let timer = null;

  function beat() {
    timer = clock.later(() => {
      const since = clock.now() - pingedAt;
      if (receivedAt < pingedAt && since >= TIMES.silence - TIMES.ping) {
        onSilent();
        return;
      }
      if (since >= TIMES.ping) askNow();
      beat();
    }, TIMES.beat);
  }

  function askNow() {
    pingedAt = clock.now();
    ping();
  }

  return {
    begin() {
      receivedAt = pingedAt = clock.now();
      beat();
    },
    received() {
      receivedAt = clock.now();
    },
    /** Check the connection, unless something has arrived recently. */
    nudge() {
      if (clock.now() - receivedAt > TIMES.quiet) askNow();
    },
    end() {
      clock.cancel(timer);
      timer = null;
    },
  };
}

/**
 * Acknowledges events: soon, but not one by one.
 *
 * @param {object} from
 * @param {Clock} from.clock
 * @param {() => boolean} from.ack returns whether it could be sent
 */
function createAcks({ clock, ack }) {
  let unacked = 0;
  /** @type {any} */
  let timer = null;

  function end() {
    clock.cancel(timer);
    timer = null;
  }

  function flush() {
    end();
    if (unacked > 0 && ack()) unacked = 0;
  }

  return {
    begin() {
      unacked = 0;
    },
    /** A stored event has arrived. */
    add() {
      unacked += 1;
      if (unacked >= ACK_EVERY) flush();
      else timer ??= clock.later(flush, TIMES.ackAfter);
    },
    end,
  };
}
