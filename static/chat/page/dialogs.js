/**
 * Actions of a session's menu: rename, archive, delete; and their dialogs.
 */

import { copy } from "../lib/clipboard.js";
import { byId, closest, closestTo, find, setShown, setText, slot } from "../lib/dom.js";
import { isBlank } from "../state/humanize.js";
import { SENTENCES } from "../state/messages.js";
import { pathTo } from "../transport/addresses.js";
import { ApiError, messageOf } from "../transport/api.js";
import { keepFocusOverReload } from "../view/focus.js";
import { closeNotice, notice } from "../view/notices.js";
import { chooseDocument, saveSession } from "./saving.js";
import { pageSession, publishTitles, refresh } from "./session-list.js";

/** @import { Api } from "../transport/api.js" */

/** @typedef {{id: string, title: string, archived: boolean}} Target */

/**
 * Connect the page's buttons and menus to their actions.
 *
 * @param {Api} api
 */
export function setUpDialogs(api) {
  /** The session of the open menu or dialog. @type {Target} */
  let target = { id: "", title: "", archived: false };

  /** @type {Record<string, (button: HTMLElement) => void>} */
  const actions = {
    "session-menu"(button) {
      target = targetOf(closest(button, "[data-session]"));
      const words = slot(byId("session-menu"), "archive");
      words.dataset.archive ??= words.textContent ?? "";
      setText(words, (target.archived ? words.dataset.other : words.dataset.archive) ?? "");
      slot(byId("session-menu"), "share").setAttribute("href", pathTo(`sessions/${target.id}/share/`));
      byId("session-menu").showPopover();
    },
    rename(button) {
      aim(button);
      rename(api, target);
    },
    archive(button) {
      aim(button);
      void archive(api, target);
    },
    delete(button) {
      aim(button);
      remove(api, target);
    },
    "save-file"(button) {
      aim(button);
      saveSession(api, target.id);
    },
    "choose-document": () => chooseDocument(api),
    "copy-session-link"(button) {
      closeMenu(button);
      void copy({ text: new URL(pathTo(`sessions/${target.id}/`), location.href).href }, null);
    },
    "close-dialog": (button) => /** @type {HTMLDialogElement|null} */ (button.closest("dialog"))?.close(),
    keys(button) {
      closeMenu(button);
      openDialog("keys-dialog");
    },
  };

  document.addEventListener("click", (event) => {
    const button = closestTo(event, "[data-action]");
    if (button) actions[button.dataset.action ?? ""]?.(button);
  });

  /**
   * A button of the page's own menu refers to the page's session.
   *
   * @param {HTMLElement} button
   */
  function aim(button) {
    closeMenu(button);
    if (button.dataset.session) target = { ...targetOf(button), title: byId("title").textContent ?? "" };
  }
}

/**
 * @param {HTMLElement} element
 * @returns {Target}
 */
function targetOf({ dataset }) {
  return { id: dataset.session ?? "", title: dataset.title ?? "", archived: dataset.archived === "true" };
}

/** @param {HTMLElement} button */
function closeMenu(button) {
  /** @type {HTMLElement|null} */
  const menu = button.closest("[popover]");
  menu?.hidePopover();
}

/** @param {string} id */
function openDialog(id) {
  /** @type {HTMLDialogElement} */
  const dialog = byId(id);
  dialog.showModal();
  return dialog;
}

/**
 * Open a dialog, and act when it is confirmed, once at a time. If that fails, it stays open and shows why.
 *
 * @param {string} id
 * @param {() => Promise<boolean|void>} act returns false if the dialog has to stay open
 */
function ask(id, act) {
  const dialog = openDialog(id);
  const form = find(dialog, "form");
  const message = find(dialog, ".msg");
  setShown(message, false);
  let isActing = false;
  let isConfirmedAgain = false;
  const closed = new AbortController();
  /** @param {SubmitEvent} event */
  const submitted = async (event) => {
    if (event.submitter?.getAttribute("value") !== "ok") return;
    event.preventDefault();
    isConfirmedAgain = true;
    if (isActing) return;
    isActing = true;
    setShown(message, false);
    try {
      let isDone = false;
      // What was changed and confirmed meanwhile is done after that.
      while (!isDone && isConfirmedAgain && !closed.signal.aborted) {
        isConfirmedAgain = false;
        isDone = (await act()) !== false;
      }
      // It may have been closed meanwhile, and opened for something else.
      if (isDone && !closed.signal.aborted) dialog.close();
    } catch (error) {
      if (closed.signal.aborted) return;
      setText(message, messageOf(error, SENTENCES.failedRequest));
      setShown(message, true);
    }
    isActing = false;
  };
  form.addEventListener("submit", submitted, { signal: closed.signal });
  dialog.addEventListener("close", () => closed.abort(), { once: true });
}

/**
 * @param {Api} api
 * @param {Target} target
 */
function rename(api, { id, title }) {
  /** @type {HTMLInputElement} */
  const input = byId("new-title");
  input.value = title;
  ask("rename-dialog", async () => {
    const name = input.value.trim();
    if (isBlank(name)) throw new ApiError(400, "invalid", SENTENCES.blankTitle);
    await api.change(id, { title: name });
    publishTitles({ [id]: name });
    showChange();
    // What was typed meanwhile is not kept yet.
    return input.value.trim() === name;
  });
  input.select();
}

/**
 * @param {Api} api
 * @param {Target} target
 */
async function archive(api, { id, archived }) {
  try {
    await api.change(id, { archived: !archived });
  } catch (error) {
    notice("act", { title: messageOf(error, SENTENCES.notArchived), tone: "wait", icon: "warn", passing: true });
    return;
  }
  closeNotice("act");
  if (id === pageSession()) location.reload();
  else showChange();
}

/**
 * @param {Api} api
 * @param {Target} target
 */
function remove(api, { id, title }) {
  setText(slot(byId("delete-dialog"), "title"), title || SENTENCES.newSession);
  ask("delete-dialog", async () => {
    await api.remove(id);
    if (id === pageSession()) location.assign(pathTo(""));
    else showChange();
  });
}

/** Both the list at the side and the list on the page show it. */
function showChange() {
  if (location.pathname !== pathTo("sessions/")) {
    void refresh();
    return;
  }
  keepFocusOverReload();
  location.reload();
}
