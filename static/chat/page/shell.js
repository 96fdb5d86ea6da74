/**
 * What is around every page of a logged-in reader: the list of sessions, menus, dialogs, the look, and the keys.
 */

import { pathTo } from "../transport/addresses.js";
import { createApi } from "../transport/api.js";
import { copy } from "../lib/clipboard.js";
import "../view/focus.js";
import { make, mark, say, show, slot } from "../lib/dom.js";
import { closeNotice, notice } from "../view/notices.js";
import { localStore } from "../transport/outbox.js";
import { begin } from "../view/notify.js";
import { fetchPart } from "../lib/fragments.js";
import { remember } from "./preferences.js";
import { SENTENCES, isBlank, joined } from "../state/humanize.js";

const REFRESH_EVERY = 10_000;
const PHONE = matchMedia("(max-width: 860px)");

const byId = (id) => document.getElementById(id);
const side = byId("sessions");
const list = byId("side-list");
const storage = localStore();

/** The API. */
export const api = createApi({ user: side.dataset.user });

begin({ api, storage });

// ---- the list of sessions ----

const watchers = new Set();
let refreshing = null;
let shown = null;
/** Who was logged in when the list came last. */
let loggedIn = side.dataset.user;

/** Be told of the rows' titles whenever the list was refreshed. */
export function onRefresh(watcher) {
  watchers.add(watcher);
}

/** Bring the list up to date: the server renders it, as it did at first. */
export function refresh() {
  refreshing ??= new Promise((resolve) => setTimeout(resolve, 300)).then(fetchList).finally(() => {
    refreshing = null;
  });
  return refreshing;
}

async function fetchList() {
  const current = list.querySelector("[aria-current]")?.closest("[data-session]").dataset.session ?? pageSession();
  const fresh = await new Promise((resolve) => fetchPart(pathTo(`sessions/?part=side&current=${current}`), resolve));
  if (fresh === null || isOthers(fresh)) return;
  const text = fresh.innerHTML;
  if (text === shown) return;
  shown = text;
  const focused = list.contains(document.activeElement) ? document.activeElement.closest("[data-session]") : null;
  const top = list.scrollTop;
  list.replaceChildren(...[...fresh.childNodes].map((node) => document.adoptNode(node)));
  list.scrollTop = top;
  if (focused) list.querySelector(`[data-session="${focused.dataset.session}"] a`)?.focus();
  paintCurrent();
  for (const watcher of watchers) watcher(titles());
}

/** Whether somebody else has logged in since this page was made: their list is not for it. */
function isOthers(fresh) {
  const user = fresh.querySelector("[data-made-for]")?.dataset.madeFor;
  const isKnown = user === loggedIn;
  loggedIn = user;
  if (user === side.dataset.user) closeNotice("other-user");
  if (user === side.dataset.user || isKnown) return user !== side.dataset.user;
  const [title, text] = SENTENCES.otherUser;
  const link = { text: SENTENCES.toTheirs, href: pathTo("") };
  notice("other-user", { title, text, tone: "wait", icon: "lock", link, closable: false });
  return true;
}

function pageSession() {
  return location.pathname.match(/\/sessions\/([0-9a-f-]{36})\/$/u)?.[1] ?? "";
}

function titles() {
  return Object.fromEntries([...list.querySelectorAll("[data-session]")].map((row) => [row.dataset.session, row.dataset.title]));
}

let currentLine = null;

/** The open session's own row says what its header says. */
export function tellCurrent(line) {
  currentLine = line;
  paintCurrent();
}

function paintCurrent() {
  const row = list.querySelector(".sess[aria-current]");
  if (!row || !currentLine) return;
  row.querySelector(".dot").className = `dot ${currentLine.dot}`;
  const { word, agent, tone, isLive } = currentLine;
  const meta = row.querySelector(".meta");
  if (meta.textContent !== joined(word, agent)) {
    meta.replaceChildren(...(word ? [make("span", word, tone)] : []), ...(word && agent ? [" · "] : []), agent);
  }
  show(row.querySelector(".badge"), isLive);
}

setInterval(() => document.visibilityState === "visible" && navigator.onLine && refresh(), REFRESH_EVERY);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh());

// ---- the drawer, and the list closed on wide screens ----

document.addEventListener("click", (event) => {
  const opener = event.target.closest('[data-action="sessions"]');
  if (!opener || PHONE.matches) return;
  event.preventDefault();
  const closed = document.body.classList.toggle("side-closed");
  remember("side", closed ? "closed" : "");
});
addEventListener("hashchange", () => {
  if (location.hash === "#sessions" && PHONE.matches) side.querySelector("a")?.focus();
});
document.querySelector(".scrim")?.addEventListener("click", (event) => {
  event.preventDefault();
  closeDrawer();
});

function closeDrawer() {
  if (location.hash !== "#sessions") return false;
  // The hash must really go for :target to let the drawer close; "#" alone would scroll nothing here, the page itself never scrolls.
  location.hash = "";
  return true;
}

// ---- menus ----

let invoker = null;
document.addEventListener(
  "click",
  (event) => {
    invoker = event.target.closest('[popovertarget], [data-action="session-menu"]') ?? invoker;
  },
  true,
);

for (const menu of document.querySelectorAll(".menu[popover]")) {
  menu.addEventListener("toggle", (event) => {
    if (event.newState === "open" && invoker) place(menu, invoker.getBoundingClientRect());
    invoker?.setAttribute("aria-expanded", String(event.newState === "open"));
  });
}

function place(menu, anchor) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = anchor.bottom + 4 + height <= innerHeight;
  menu.style.top = `${Math.max(8, below ? anchor.bottom + 4 : anchor.top - height - 4)}px`;
  const left = anchor.left + width <= innerWidth - 8 ? anchor.left : anchor.right - width;
  menu.style.left = `${Math.max(8, left)}px`;
}

// ---- what is done to a session ----

let target = null;

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (!button) return;
  switch (button.dataset.action) {
    case "session-menu": {
      const row = button.closest("[data-session]");
      target = { id: row.dataset.session, title: row.dataset.title, archived: row.dataset.archived === "true" };
      const words = slot(byId("session-menu"), "archive");
      words.dataset.archive ??= words.textContent;
      say(words, target.archived ? words.dataset.other : words.dataset.archive);
      byId("session-menu").showPopover();
      break;
    }
    case "rename":
      aim(button);
      rename();
      break;
    case "archive":
      aim(button);
      archive();
      break;
    case "delete":
      aim(button);
      remove();
      break;
    case "copy-session-link":
      button.closest("[popover]").hidePopover();
      copy({ text: new URL(pathTo(`sessions/${target.id}/`), location.href).href }, null);
      break;
    case "close-dialog":
      button.closest("dialog").close();
      break;
    case "keys":
      button.closest("[popover]")?.hidePopover();
      byId("keys-dialog").showModal();
      break;
    default:
  }
});

/** A button of the page's own menu speaks of the page's session. */
function aim(button) {
  button.closest("[popover]")?.hidePopover();
  const own = button.dataset.session;
  if (!own) return;
  target = { id: own, title: byId("title").textContent, archived: button.dataset.archived === "true" };
}

function ask(dialog, act) {
  const form = dialog.querySelector("form");
  const message = dialog.querySelector(".msg");
  show(message, false);
  const submitted = async (event) => {
    if (event.submitter?.value !== "ok") return;
    event.preventDefault();
    try {
      await act();
      dialog.close();
    } catch (error) {
      say(message, error.message || SENTENCES.failedRequest);
      show(message, true);
    }
  };
  form.addEventListener("submit", submitted);
  dialog.addEventListener("close", () => form.removeEventListener("submit", submitted), { once: true });
  dialog.showModal();
}

function rename() {
  const dialog = byId("rename-dialog");
  const input = dialog.querySelector("input");
  const { id, title } = target;
  input.value = title;
  ask(dialog, async () => {
    const name = input.value.trim();
    if (isBlank(name)) throw new Error(SENTENCES.blankTitle);
    await api.change(id, { title: name });
    for (const watcher of watchers) watcher({ [id]: name });
    changed(id);
  });
  input.select();
}

async function archive() {
  const { id, archived } = target;
  try {
    await api.change(id, { archived: !archived });
  } catch (error) {
    notice("act", { title: error.message || SENTENCES.notArchived, tone: "wait", icon: "warn", passing: true });
    return;
  }
  if (id === pageSession() || location.pathname === pathTo("sessions/")) location.reload();
  else changed(id);
}

function remove() {
  const dialog = byId("delete-dialog");
  const { id, title } = target;
  say(slot(dialog, "title"), title || SENTENCES.newSession);
  ask(dialog, async () => {
    await api.remove(id);
    if (id === pageSession()) location.assign("/");
    else changed(id);
  });
}

/** The list beside and the list on the page both show it. */
function changed() {
  if (location.pathname === pathTo("sessions/")) location.reload();
  else refresh();
}

// ---- the look ----

const root = document.documentElement;
for (const button of document.querySelectorAll("[data-theme-choice]")) {
  button.setAttribute("aria-pressed", String(button.dataset.themeChoice === (root.dataset.theme ?? "")));
  button.addEventListener("click", () => {
    const { themeChoice } = button.dataset;
    mark(root, "theme", themeChoice);
    remember("theme", themeChoice);
    for (const other of document.querySelectorAll("[data-theme-choice]")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
  });
}

// ---- keys ----

const keys = new Map();
const single = byId("single-keys");
single.checked = storage?.getItem("thinkaloud.keys") !== "off";
single.addEventListener("change", () => {
  try {
    storage?.setItem("thinkaloud.keys", single.checked ? "on" : "off");
  } catch {
    // Kept for this page only.
  }
});

/** Let a single key do something, where nothing can be meant as text. None may leave the page, stop or delete anything. */
export function onKey(key, run) {
  keys.set(key, run);
}

/** What takes letters itself: to write them, or to find a choice that begins with them. */
const TAKES_KEYS =
  "input:not([type=checkbox], [type=radio], [type=button], [type=submit], [type=reset], [type=file], [type=range], [type=color]), textarea, select," +
  "[contenteditable]:not([contenteditable=false]), [role=textbox], [role=searchbox], [role=combobox], [role=listbox], [role=menu], [role=menuitem]";

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && closeDrawer()) return;
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  // While an input method composes, all keys are its own (229 is how some browsers say so).
  if (event.isComposing || event.keyCode === 229 || event.getModifierState("AltGraph")) return;
  if (document.querySelector("dialog[open], [popover]:popover-open")) return;
  if (event.target.closest?.(TAKES_KEYS)) return;
  const isLetter = event.key.length === 1;
  if (isLetter && (!single.checked || event.repeat)) return;
  const run = keys.get(event.key);
  if (run) {
    event.preventDefault();
    run(event);
  }
});

onKey("/", () => {
  if (PHONE.matches) location.hash = "sessions";
  byId("search").focus();
});
onKey("?", () => byId("keys-dialog").showModal());

// ---- filters apply themselves ----

for (const form of document.querySelectorAll("form[data-autosubmit]")) {
  form.addEventListener("change", (event) => event.target.matches("select, [type=checkbox]") && form.requestSubmit());
}
