/**
 * Notifies that a scheduled run has ended, or that a run waits for the reader: on this page, and if the reader allows it by the browser
 * itself, once for all tabs.
 *
 * A page with a live connection gets it immediately. All pages poll now and then, so that nothing is lost with a connection; duplicates
 * have the same id.
 */

import { pathTo } from "../transport/addresses.js";
import { ApiError } from "../transport/api.js";
import { visible } from "../lib/dom.js";
import { closeNotice, notice } from "./notices.js";
import { notificationPermission, requestNotifications, showNotification } from "../lib/platform.js";
import { readText, tabChannel, writeText } from "../lib/storage.js";
import { SENTENCES } from "../state/messages.js";

/** @import { Api } from "../transport/api.js" */
/** @import { Store } from "../state/types.js" */

const ASK_EVERY = 10_000;
/** A hidden page polls less often, and only if it could show something. */
const ASK_HIDDEN_EVERY = 30_000;
/** How long a hidden page waits for a visible one to show it first, in milliseconds. */
const OTHERS_FIRST = 1_500;
/** More lines than this would cover the page. */
const MOST_LINES = 3;
/** @type {Readonly<Record<string, string>>} */
const TONES = Object.freeze({ failed: "fail", interrupted: "wait", max_iterations: "wait", skipped: "wait" });

/**
 * The end of a scheduled run, or a skipped one. `paused` says that its schedule has paused because of it.
 *
 * @typedef {{
 *   id: string, session_id: string|null, run_id: string|null, title: string, text: string, texts?: Record<string, string>, status: string, paused: boolean,
 * }} ScheduleNotification
 */

/**
 * A run has begun to wait for the reader, or for another user who may decide.
 *
 * @typedef {import("../protocol.js").WaitingData} WaitingNotification
 */

/** @type {Set<string>} */
const received = new Set();
/** @type {string[]} */
const lines = [];
/** @type {Set<(data: ScheduleNotification) => void>} */
const watchers = new Set();
/** @type {Set<() => void>} */
const waitingWatchers = new Set();
/** The calls that are shown as waiting. @type {Set<string>} */
const waiting = new Set();
const tabs = tabChannel("thinkaloud.notifications");
/** What another tab has shown while it was visible. @type {Set<string>} */
const seenElsewhere = new Set();
/** The page with what is shown, by the kind of its notice. @type {Map<string, string>} */
const places = new Map();
tabs?.addEventListener("message", ({ data }) => {
  if (typeof data === "string") seenElsewhere.add(data);
  else closeOpened(data.opened);
});

const choice = "thinkaloud.notify";

/**
 * Whether the reader wants the browser's notifications, and the browser may show them.
 *
 * @param {Store} storage
 */
export function isWanted(storage) {
  return notificationPermission() === "granted" && readText(storage, choice) === "on";
}

/**
 * Switch that on or off; asks the browser for permission, so only after a click. Returns whether it is on now.
 *
 * @param {Store} storage
 * @param {boolean} wanted
 */
export async function want(storage, wanted) {
  const isOn = wanted && (await requestNotifications()) === "granted";
  writeText(storage, choice, isOn ? "on" : "off");
  return isOn;
}

/**
 * Register a function that is called with each notification.
 *
 * @param {(data: ScheduleNotification) => void} watcher
 */
export function onNotification(watcher) {
  watchers.add(watcher);
}

/**
 * Register a function that is called when another call waits for the reader.
 *
 * @param {() => void} watcher
 */
export function onWaiting(watcher) {
  waitingWatchers.add(watcher);
}

/** @type {Store} */
let kept = null;

/**
 * Handle a notification, from any source.
 *
 * @param {ScheduleNotification|WaitingNotification} data
 */
export function receive(data) {
  if ("kind" in data) {
    receiveWaiting(data);
    return;
  }
  if (received.has(data.id)) return;
  received.add(data.id);
  for (const watcher of watchers) watcher(data);
  const isHere = data.session_id !== null && location.pathname === pathTo(`sessions/${data.session_id}/`);
  // A reader who has the run open has seen its end.
  if (!isHere || data.paused) show(data);
  if (document.visibilityState === "visible") tabs?.postMessage(data.id);
  else setTimeout(() => notifyByBrowser(data), OTHERS_FIRST);
}

/**
 * Handle the notification of a call that waits.
 *
 * @param {WaitingNotification} data
 */
function receiveWaiting({ run_id: run, tool_call_id: call, session_id: session, title, tool_name: tool, kind }) {
  const id = `${run}/${call}`;
  if (received.has(id)) return;
  received.add(id);
  for (const look of waitingWatchers) look();
  const text = kind === "question" ? SENTENCES.asksYou : SENTENCES.needsYou(tool);
  const href = pathTo(`sessions/${session}/#run-${run}`);
  // It is shown in the session itself, and in the list of all waiting calls.
  if (![pathTo(`sessions/${session}/`), pathTo("waiting/")].includes(location.pathname)) {
    waiting.add(id);
    notice(`notification-${id}`, { title: title || SENTENCES.newSession, text, tone: "wait", icon: "approve", link: { text: SENTENCES.openRun, href } });
  }
  if (document.visibilityState === "visible") tabs?.postMessage(id);
  else setTimeout(() => showInBrowser({ id, title: title || SENTENCES.newSession, text, href }), OTHERS_FIRST);
}

/** The calls that are shown as waiting, each as its run and its id. */
export function shownWaiting() {
  return [...waiting];
}

/**
 * Remove what is shown of a call that no longer waits.
 *
 * @param {string} id
 */
export function settleWaiting(id) {
  waiting.delete(id);
  closeNotice(`notification-${id}`);
}

/**
 * The text, in the page's language if the server has sent it.
 * @param {ScheduleNotification} data
 */
const textOf = (data) => data.texts?.[document.documentElement.lang.toLowerCase()] ?? data.text;

/** @param {ScheduleNotification} data */
function show(data) {
  const kind = `notification-${data.id}`;
  lines.push(kind);
  if (lines.length > MOST_LINES) closeNotice(lines.shift() ?? "");
  const [text, href] = data.session_id
    ? [SENTENCES.openRun, pathTo(`sessions/${data.session_id}/#run-${data.run_id}`)]
    : [SENTENCES.openSchedules, pathTo("schedules/")];
  places.set(kind, new URL(href, location.href).pathname);
  notice(kind, { title: data.title, text: textOf(data), tone: data.paused ? "fail" : (TONES[data.status] ?? ""), icon: "schedule", link: { text, href } });
}

/**
 * Remove the ends that another tab shows now: a run's session, or the list of all schedules.
 *
 * @param {string} path
 */
function closeOpened(path) {
  const isList = path === pathTo("schedules/");
  for (const [kind, place] of places) if (isList || place === path) closeNotice(kind);
}

/** @param {ScheduleNotification} data */
function notifyByBrowser(data) {
  const href = pathTo(data.session_id ? `sessions/${data.session_id}/` : "schedules/");
  showInBrowser({ id: data.id, title: data.title, text: textOf(data), href });
}

/** @param {{id: string, title: string, text: string, href: string}} data */
function showInBrowser({ id, title, text, href }) {
  if (!isWanted(kept) || seenElsewhere.has(id) || document.visibilityState === "visible") return;
  // One with the same tag replaces the other: if several tabs notify, one is shown.
  const shown = showNotification(visible(title), { body: visible(text), tag: `thinkaloud-${id}` });
  shown?.addEventListener("click", () => {
    window.focus();
    location.assign(href);
  });
}

/**
 * Start polling.
 *
 * @param {object} from
 * @param {Api} from.api
 * @param {Store} from.storage
 */
export function startNotifications({ api, storage }) {
  kept = storage;
  tabs?.postMessage({ opened: location.pathname });
  /** @type {string|number|null} */
  let after = null;
  let askedAt = 0;
  let isAsking = false;
  let isLoggedOut = false;

  async function ask() {
    if (isAsking || isLoggedOut) return;
    isAsking = true;
    askedAt = Date.now();
    try {
      const answer = await api.notifications(after);
      after = answer.now;
      for (const data of answer.items) receive(data);
    } catch (error) {
      isLoggedOut = error instanceof ApiError && error.status === 401;
    }
    isAsking = false;
  }

  ask();
  setInterval(() => {
    const isSeen = document.visibilityState === "visible";
    if (isSeen || (isWanted(storage) && Date.now() - askedAt >= ASK_HIDDEN_EVERY)) ask();
  }, ASK_EVERY);
  const seen = () => {
    // A reader who returns to the page may have logged in again.
    isLoggedOut = false;
    if (document.visibilityState === "visible") ask();
  };
  document.addEventListener("visibilitychange", seen);
  addEventListener("focus", seen);
}
