/**
 * The page's connection: live, or over the API where that is blocked or not wanted; and what the reader sees of it.
 */

import { byId } from "../lib/dom.js";
import { CLOSE } from "../protocol.js";
import { SENTENCES } from "../state/messages.js";
import { pathTo } from "../transport/addresses.js";
import { ApiError, createPolling } from "../transport/api.js";
import { createSocket } from "../transport/socket.js";
import { closeNotice, notice } from "../view/notices.js";

/** @import { Api } from "../transport/api.js" */
/** @import { Frame, Link, Page, Store, Transport } from "../state/types.js" */

/** The pause before a server that does not answer at all is tried again, in milliseconds. */
const PROBE_AGAIN = 5_000;
/** What is not true any more once the connection is open. */
const PASSED = ["logged-out", "gone", "too-many", "refused"];

/** @typedef {ReturnType<typeof createConnection>} Connection */

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
export function createConnection({ page, api, storage, cursor, title, onFrame, onLink }) {
  const session = page.session.id;
  const choice = `thinkaloud.transport.${page.user}`;
  /** @type {HTMLInputElement} */
  const wantsApi = byId("over-api");
  /** @type {Transport|null} */
  let transport = null;
  let isSocket = true;
  /** @type {Link} */
  let link = { word: "idle" };

  /** @param {Link} next */
  function changed(next) {
    link = next;
    if (next.word === "live" || next.word === "polling") {
      PASSED.forEach(closeNotice);
      if (next.word === "live") closeNotice("blocked");
    }
    tellReader(next);
    if (next.word === "blocked") void probe();
    onLink(next);
  }

  /** Live connections never opened. Where the API answers, the network is to blame; where it doesn't, the server is away. */
  async function probe() {
    try {
      await api.events(session, cursor().seq, 1);
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        changed({ word: "logged_out" });
        return;
      }
      changed({ word: "waiting", until: Date.now() + PROBE_AGAIN });
      setTimeout(() => isSocket && transport?.again?.(), PROBE_AGAIN);
      return;
    }
    goOverApi();
    const [head, text] = SENTENCES.blocked;
    notice("blocked", { title: head, text, icon: "offline", button: { text: SENTENCES.tryLive, run: goLive } });
  }

  function goOverApi() {
    transport?.close();
    isSocket = false;
    wantsApi.checked = true;
    transport = createPolling({
      api,
      session,
      cursor,
      page: () => ({ title: title(), agent: page.session.agent, role: page.session.role }),
      onFrame,
      onState: changed,
      isHidden: () => document.visibilityState === "hidden",
      isOnline: () => navigator.onLine,
    });
    transport.open();
  }

  function goLive() {
    transport?.close();
    closeNotice("blocked");
    isSocket = true;
    wantsApi.checked = false;
    transport = createSocket({
      url: (from) => socketUrl(session, from),
      cursor,
      onFrame,
      onState: changed,
      isOnline: () => navigator.onLine,
    });
    transport.open();
  }

  function isApiWanted() {
    try {
      return storage?.getItem(choice) === "api";
    } catch {
      return false;
    }
  }

  wantsApi.addEventListener("change", () => {
    try {
      if (wantsApi.checked) storage?.setItem(choice, "api");
      else storage?.removeItem(choice);
    } catch {
      // Chosen for this page only.
    }
    if (wantsApi.checked) goOverApi();
    else goLive();
  });
  addEventListener("online", () => transport?.nudge());
  addEventListener("offline", () => transport?.offline());
  // A page put aside by the browser must not hold a dead connection when it comes back.
  addEventListener("pageshow", (event) => event.persisted && transport?.nudge());

  return {
    /** Connect, by the way that the reader has chosen. */
    start() {
      if (isApiWanted()) goOverApi();
      else goLive();
    },
    /**
     * Returns whether it could be sent.
     *
     * @param {string} type
     * @param {object} payload
     */
    send: (type, payload) => transport?.send(type, payload) ?? false,
    /** An event is missing: have those after the last one again. */
    resume: () => transport?.resume(),
    /** Check at once whether the connection lives. */
    nudge: () => transport?.nudge(),
    get link() {
      return link;
    },
    get isOpen() {
      return transport?.isOpen ?? false;
    },
    /** Whether the live connection takes messages already while it is being opened. */
    get takesEarly() {
      return isSocket && link.word !== "waiting";
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
 * A notice for what does not pass by itself.
 *
 * @param {Link} link
 */
function tellReader({ word, code }) {
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
