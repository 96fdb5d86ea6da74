/**
 * Tells that a scheduled run has ended: on this page, and where the reader allows it by the browser itself, once for all tabs.
 *
 * A page with a live connection hears at once. All ask now and then, so that nothing is lost with a connection; what is told twice has
 * the same id.
 */

import { pathTo } from "../transport/addresses.js";
import { visible } from "../lib/dom.js";
import { closeNotice, notice } from "./notices.js";
import { notificationPermission, requestNotifications, showNotification } from "../lib/platform.js";
import { SENTENCES } from "../state/humanize.js";

const ASK_EVERY = 10_000;
/** A page out of sight asks more rarely, and only where there is something that it could do. */
const ASK_HIDDEN_EVERY = 30_000;
/** So long a page out of sight waits for one that is looked at to have told already. */
const OTHERS_FIRST = 1_500;
/** More lines than these would cover the page. */
const MOST_LINES = 3;
const TONES = Object.freeze({ failed: "fail", interrupted: "wait", max_iterations: "wait", skipped: "wait" });

const told = new Set();
const lines = [];
const watchers = new Set();
const tabs = new BroadcastChannel("thinkaloud.notifications");
/** What another tab has shown to somebody who looks at it. */
const seenElsewhere = new Set();
tabs.addEventListener("message", (event) => seenElsewhere.add(event.data));

const choice = "thinkaloud.notify";

/** Whether the reader wants the browser to tell, and the browser may. */
export function isWanted(storage) {
  try {
    return notificationPermission() === "granted" && storage?.getItem(choice) === "on";
  } catch {
    return false;
  }
}

/** Turn that on or off; asks the browser for leave, so only after a click. Returns whether it is on now. */
export async function want(storage, wanted) {
  const isOn = wanted && (await requestNotifications()) === "granted";
  try {
    storage?.setItem(choice, isOn ? "on" : "off");
  } catch {
    // Kept for no longer than this.
  }
  return isOn;
}

/** Be told of each notification. */
export function onNotification(watcher) {
  watchers.add(watcher);
}

let keep = null;

/** Take one, from wherever it comes. */
export function receive(data) {
  if (told.has(data.id)) return;
  told.add(data.id);
  for (const watcher of watchers) watcher(data);
  const isHere = data.session_id !== null && location.pathname === pathTo(`sessions/${data.session_id}/`);
  // Who looks at the run has seen its end.
  if (!isHere || data.paused) show(data);
  if (document.visibilityState === "visible") tabs.postMessage(data.id);
  else setTimeout(() => tell(data), OTHERS_FIRST);
}

function show(data) {
  const kind = `notification-${data.id}`;
  lines.push(kind);
  if (lines.length > MOST_LINES) closeNotice(lines.shift());
  const [text, href] = data.session_id
    ? [SENTENCES.openRun, pathTo(`sessions/${data.session_id}/#run-${data.run_id}`)]
    : [SENTENCES.openSchedules, pathTo("schedules/")];
  notice(kind, { title: data.title, text: data.text, tone: data.paused ? "fail" : (TONES[data.status] ?? ""), icon: "schedule", link: { text, href } });
}

function tell(data) {
  if (!isWanted(keep) || seenElsewhere.has(data.id) || document.visibilityState === "visible") return;
  // One with the same tag takes the other's place: tabs that all tell show one.
  const shown = showNotification(visible(data.title), { body: visible(data.text), tag: `thinkaloud-${data.id}` });
  shown?.addEventListener("click", () => {
    window.focus();
    location.assign(pathTo(data.session_id ? `sessions/${data.session_id}/` : "schedules/"));
  });
}

/** Ask from now on. */
export function begin({ api, storage }) {
  keep = storage;
  let after = null;
  let askedAt = 0;
  let isAsking = false;
  let isLoggedOut = false;

  async function ask() {
    if (isAsking || isLoggedOut || !navigator.onLine) return;
    isAsking = true;
    askedAt = Date.now();
    try {
      const answer = await api.notifications(after);
      after = answer.now;
      for (const data of answer.items) receive(data);
    } catch (error) {
      isLoggedOut = error.status === 401;
    }
    isAsking = false;
  }

  ask();
  setInterval(() => {
    const isSeen = document.visibilityState === "visible";
    if (isSeen || (isWanted(storage) && Date.now() - askedAt >= ASK_HIDDEN_EVERY)) ask();
  }, ASK_EVERY);
  const seen = () => {
    // Whoever looks at the page again may have logged in again.
    isLoggedOut = false;
    if (document.visibilityState === "visible") ask();
  };
  document.addEventListener("visibilitychange", seen);
  addEventListener("focus", seen);
}
