/**
 * The list of sessions at the side of every page, kept up to date: the server renders it.
 */

import { byId, make, setShown } from "../lib/dom.js";
import { fetchPart, replaceContent } from "../lib/fragments.js";
import { joined } from "../state/humanize.js";
import { SENTENCES } from "../state/messages.js";
import { pathTo } from "../transport/addresses.js";
import { setBadge } from "../view/badge.js";
import { closeNotice, notice } from "../view/notices.js";
import { settleWaiting, shownWaiting } from "../view/notify.js";

/**
 * What a session's row shows of its run.
 * @typedef {{dot: string, word: string, tone: string, agent: string, isLive: boolean}} SessionRow
 */

const REFRESH_EVERY = 10_000;
/** Changes come in bunches: the list is fetched once for all within this time, in milliseconds. */
const PAUSE = 300;

const list = byId("side-list");
/** The user that the page was rendered for. */
const madeFor = byId("sessions").dataset.user;
/** @type {Set<(titles: Record<string, string>) => void>} */
const watchers = new Set();
/** @type {Set<() => void>} */
const returns = new Set();
/** @type {Promise<void>|null} */
let refreshing = null;
let shown = "";
/** The user that the last list was rendered for. */
let loggedIn = madeFor;
/** @type {SessionRow|null} */
let current = null;

/**
 * Register a function that is called with the sessions' titles, by id, after each update.
 *
 * @param {(titles: Record<string, string>) => void} watcher
 */
export function onRefresh(watcher) {
  watchers.add(watcher);
}

/**
 * Call all functions registered with `onRefresh`.
 *
 * @param {Record<string, string>} titles
 */
export function publishTitles(titles) {
  for (const watcher of watchers) watcher(titles);
}

/**
 * Register a function that is called when the page's own user is logged in again, after another one.
 *
 * @param {() => void} watcher
 */
export function onReturn(watcher) {
  returns.add(watcher);
}

/** Update the list. */
export function refresh() {
  refreshing ??= new Promise((resolve) => setTimeout(resolve, PAUSE)).then(fetchList).finally(() => {
    refreshing = null;
  });
  return refreshing;
}

/** The id of the page's session; empty on other pages. */
export function pageSession() {
  return location.pathname.match(/\/sessions\/([0-9a-f-]{36})\/$/u)?.[1] ?? "";
}

/**
 * The row of the open session shows what the page's head shows.
 *
 * @param {SessionRow} row
 */
export function showCurrent(row) {
  current = row;
  paintCurrent();
}

async function fetchList() {
  const row = list.querySelector("[aria-current]")?.closest("[data-session]");
  const session = row?.getAttribute("data-session") ?? pageSession();
  const before = shownWaiting();
  /** @type {HTMLElement|null} */
  const fresh = await new Promise((resolve) => fetchPart(pathTo(`sessions/?part=side&current=${session}`), resolve));
  if (fresh === null || isOthers(fresh)) return;
  settle(fresh, before);
  if (fresh.innerHTML === shown) return;
  shown = fresh.innerHTML;
  const focused = list.contains(document.activeElement) ? document.activeElement?.closest("[data-session]") : null;
  const top = list.scrollTop;
  replaceContent(list, fresh);
  list.scrollTop = top;
  if (focused) {
    /** @type {HTMLElement|null} */
    const again = list.querySelector(`[data-session="${focused.getAttribute("data-session")}"] a`);
    again?.focus();
  }
  paintCurrent();
  countNeeds();
  publishTitles(titlesOf(list));
}

/**
 * Whether another user has logged in since this page was rendered: the list is not for this page then.
 *
 * @param {HTMLElement} fresh
 */
function isOthers(fresh) {
  const user = fresh.querySelector("[data-made-for]")?.getAttribute("data-made-for") ?? undefined;
  const isKnown = user === loggedIn;
  loggedIn = user;
  if (user === madeFor) closeNotice("other-user");
  if (user === madeFor && !isKnown) for (const watcher of returns) watcher();
  if (user === madeFor || isKnown) return user !== madeFor;
  const [title, text] = SENTENCES.otherUser;
  const link = { text: SENTENCES.toTheirs, href: pathTo("") };
  notice("other-user", { title, text, tone: "wait", icon: "lock", link, closable: false });
  return true;
}

/**
 * @param {HTMLElement} rows
 * @returns {Record<string, string>}
 */
function titlesOf(rows) {
  /** @type {NodeListOf<HTMLElement>} */
  const found = rows.querySelectorAll("[data-session]");
  return Object.fromEntries([...found].map(({ dataset }) => [dataset.session ?? "", dataset.title ?? ""]));
}

/**
 * The list names the calls that wait, unless there are very many: what is shown of another one, which was shown before, has passed.
 *
 * @param {HTMLElement} fresh
 * @param {string[]} before
 */
function settle(fresh, before) {
  /** @type {string[]|null} */
  const open = JSON.parse(fresh.querySelector("[data-open]")?.getAttribute("data-open") ?? "null");
  if (open) for (const id of before) if (!open.includes(id)) settleWaiting(id);
}

/** The number of waiting calls is shown with the list. */
function countNeeds() {
  setBadge(Number(list.querySelector("[data-needs]")?.getAttribute("data-needs") ?? 0));
}

function paintCurrent() {
  const row = list.querySelector(".sess[aria-current]");
  const [dot, meta] = [row?.querySelector(".dot"), row?.querySelector(".meta")];
  if (!row || !dot || !meta || !current) return;
  const { word, agent, tone, isLive } = current;
  dot.className = `dot ${current.dot}`;
  if (meta.textContent !== joined(word, agent)) {
    meta.replaceChildren(...(word ? [make("span", word, tone)] : []), ...(word && agent ? [" · "] : []), agent);
  }
  setShown(row.querySelector(".badge"), isLive);
}

countNeeds();
const refreshIfSeen = () => document.visibilityState === "visible" && void refresh();
setInterval(refreshIfSeen, REFRESH_EVERY);
document.addEventListener("visibilitychange", refreshIfSeen);
