/**
 * The page's connection: live, or over the API if live connections are blocked or switched off; and what the reader sees of it.
 */

import { byId } from "../lib/dom.js";
import { steadyNow } from "../lib/steady-time.js";
import { readText, removeText, writeText } from "../lib/storage.js";
import { CLOSE } from "../protocol.js";
import { SENTENCES } from "../state/messages.js";
import { pathTo } from "../transport/addresses.js";
import { ApiError } from "../transport/api.js";
import { PollingTransport } from "../transport/polling.js";
import { SocketTransport } from "../transport/socket.js";
import { closeNotice, notice } from "../view/notices.js";

/** @import { Api } from "../transport/api.js" */
/** @import { Frame, Link, Page, Store, Transport } from "../state/types.js" */

/** The pause before a server that does not answer is tried again, in milliseconds. */
const PROBE_AGAIN = 5_000;
/** Notices that are outdated once the connection is open, and those that are where there can be none. */
const PASSED = ["logged-out", "gone", "refused"];
const POINTLESS = ["blocked", "refused", "not-noted"];

export class Connection {
  #from;
  #switch;
  /** @type {Transport|null} */
  #transport = null;
  #isSocket = true;
  /** @type {Link} */
  #link = { word: "idle" };

  /**
   * @param {object} from
   * @param {Page} from.page
   * @param {Api} from.api
   * @param {Store} from.storage keeps whether the reader wants the API
   * @param {() => {seq: number, id: string|null}} from.cursor the last event that the page holds
   * @param {() => string} from.title the session's title, as the page shows it
   * @param {(frame: Frame) => void} from.onFrame
   * @param {(link: Link) => void} from.onLink called at each change
   */
  constructor({ storage, ...from }) {
    this.#from = { ...from, session: from.page.session.id };
    this.#switch = createSwitch({ storage, key: `thinkaloud.transport.${from.page.user}`, onChange: () => this.start() });
    addEventListener("online", () => this.nudge());
    addEventListener("offline", () => this.#transport?.offline());
    // A page in the browser's back/forward cache must not come back with a dead connection.
    addEventListener("pageshow", (event) => event.persisted && this.nudge());
  }

  /** Connect in the way that the reader has chosen. */
  start() {
    if (this.#switch.isApiWanted) this.#goOverApi();
    else this.#goLive();
  }

  /**
   * Returns whether it could be sent.
   *
   * @param {string} type
   * @param {object} payload
   */
  send(type, payload) {
    return this.#transport?.send(type, payload) ?? false;
  }

  /** An event is missing: request all events after the last one again. */
  resume() {
    this.#transport?.resume();
  }

  /** Check immediately whether the connection works. */
  nudge() {
    this.#transport?.nudge();
  }

  get link() {
    return this.#link;
  }

  get isOpen() {
    return this.#transport?.isOpen ?? false;
  }

  /** Whether a live connection accepts messages while it is still being opened. */
  get takesEarly() {
    return this.#isSocket && this.#link.word !== "waiting";
  }

  /** @param {Link} next */
  #changed(next) {
    this.#link = next;
    if (next.word === "live" || next.word === "polling") PASSED.forEach(closeNotice);
    if (next.word === "gone" || next.word === "logged_out") POINTLESS.forEach(closeNotice);
    // Until the next attempt is over, its cause is the last one's.
    if (next.word !== "connecting") closeNotice("too-many");
    showToReader(next);
    if (next.word === "blocked") void this.#probe();
    this.#from.onLink(next);
  }

  /** Live connections never opened. If the API answers, the network blocks them; if not, the server is unavailable. */
  async #probe() {
    const { api, session, cursor } = this.#from;
    try {
      await api.events(session, cursor().seq, 1);
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        this.#changed({ word: "logged_out" });
        return;
      }
      this.#changed({ word: "waiting", until: steadyNow() + PROBE_AGAIN });
      setTimeout(() => this.#isSocket && this.#transport?.again?.(), PROBE_AGAIN);
      return;
    }
    // The reader may have chosen the API meanwhile.
    if (this.#link.word !== "blocked") return;
    this.#goOverApi();
    const [title, text] = SENTENCES.blocked;
    notice("blocked", { title, text, icon: "offline", button: { text: SENTENCES.tryLive, run: () => this.#goLive() } });
  }

  #goOverApi() {
    const { api, session, page, title } = this.#from;
    const polling = new PollingTransport({
      ...this.#hooks(),
      api,
      session,
      page: () => ({ title: title(), agent: page.session.agent, role: page.session.role }),
      isHidden: () => document.visibilityState === "hidden",
    });
    this.#go(polling, false);
  }

  #goLive() {
    const { session } = this.#from;
    this.#go(new SocketTransport({ ...this.#hooks(), url: (cursor) => socketUrl(session, cursor) }), true);
  }

  /**
   * @param {Transport} transport
   * @param {boolean} isSocket
   */
  #go(transport, isSocket) {
    closeNotice("blocked");
    this.#transport?.close();
    this.#isSocket = isSocket;
    this.#switch.show(!isSocket);
    this.#transport = transport;
    transport.open();
  }

  /** The callbacks that both transports need. */
  #hooks() {
    const { cursor, onFrame } = this.#from;
    return { cursor, onFrame, onState: (/** @type {Link} */ link) => this.#changed(link), isOnline: () => navigator.onLine };
  }
}

/**
 * The reader's switch between the live connection and the API. If it cannot be stored, it applies to this page only.
 *
 * @param {object} from
 * @param {Store} from.storage
 * @param {string} from.key
 * @param {() => void} from.onChange
 */
function createSwitch({ storage, key, onChange }) {
  /** @type {HTMLInputElement} */
  const box = byId("over-api");
  let isApiWanted = readText(storage, key) === "api";

  box.addEventListener("change", () => {
    isApiWanted = box.checked;
    if (isApiWanted) writeText(storage, key, "api");
    else removeText(storage, key);
    onChange();
  });

  return {
    get isApiWanted() {
      return isApiWanted;
    },
    /** @param {boolean} isOverApi how the page is connected now */
    show(isOverApi) {
      box.checked = isOverApi;
    },
  };
}

/**
 * @param {string} session
 * @param {{seq: number, id: string|null}} cursor
 */
function socketUrl(session, { seq, id }) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const query = new URLSearchParams({ last_seq: String(seq), ...(id ? { last_id: id } : {}) });
  return `${scheme}//${location.host}${pathTo(`ws/chat/${session}/?${query}`)}`;
}

/**
 * A notice for conditions that do not pass by themselves.
 *
 * @param {Link} link
 */
function showToReader({ word, code }) {
  if (word === "waiting" && code === CLOSE.TOO_MANY) {
    const [title, text] = SENTENCES.tooMany;
    notice("too-many", { title, text, tone: "wait", icon: "warn" });
  }
  if (word === "logged_out") {
    const [title, text] = SENTENCES.loggedOut;
    const href = pathTo(`accounts/login/?next=${encodeURIComponent(location.pathname)}`);
    const link = { text: SENTENCES.logIn, href };
    notice("logged-out", { title, text, tone: "fail", icon: "lock", link, closable: false });
  }
  if (word === "gone") {
    const [title, text] = SENTENCES.gone;
    const link = { text: SENTENCES.toStart, href: pathTo("") };
    notice("gone", { title, text, tone: "fail", icon: "fail", link, closable: false });
    closeNotice("logged-out");
  }
}
