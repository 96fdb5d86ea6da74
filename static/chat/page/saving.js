/**
 * Saving a session as a file, with a preview of what is hidden in it; importing a trajectory of another program.
 */

import { byId, find, setShown, setText, slot } from "../lib/dom.js";
import { SENTENCES } from "../state/messages.js";
import { pathTo } from "../transport/addresses.js";
import { messageOf } from "../transport/api.js";

/** @import { Api } from "../transport/api.js" */

/** How many hidden places the dialog shows. */
const SHOWN = 20;
const MOST_BYTES = 20 * 1024 * 1024;

/**
 * Ask for a format, and let the browser save the file.
 *
 * @param {Api} api
 * @param {string} session
 */
export function saveSession(api, session) {
  /** @type {HTMLDialogElement} */
  const dialog = byId("export-dialog");
  /** @type {HTMLFormElement} */
  const form = find(dialog, "form");
  /** @type {HTMLInputElement} */
  const mask = find(form, "[name=mask]");
  /** @type {number|null} */
  let count = null;
  mask.checked = true;
  setShown(find(dialog, ".msg"), false);
  const found = slot(dialog, "found");
  found.dataset.words ??= found.textContent ?? "";
  setText(found, found.dataset.words);
  slot(dialog, "places").replaceChildren();
  const showCount = () => {
    if (count === null) return;
    const words = count === 0 ? SENTENCES.noSecrets : mask.checked ? SENTENCES.hidden(count) : SENTENCES.notHidden(count);
    setText(found, words);
    found.classList.toggle("t-wait", count > 0 && !mask.checked);
  };
  const submitted = (/** @type {SubmitEvent} */ event) => {
    if (event.submitter?.getAttribute("value") !== "ok") return;
    const format = new FormData(form).get("format");
    save(pathTo(`api/sessions/${session}/export/?format=${format}${mask.checked ? "" : "&mask=false"}`));
  };
  form.addEventListener("submit", submitted);
  mask.addEventListener("change", showCount);
  const closed = new AbortController();
  dialog.addEventListener("close", () => {
    closed.abort();
    form.removeEventListener("submit", submitted);
    mask.removeEventListener("change", showCount);
  }, { once: true });
  dialog.showModal();
  void look(api, session, dialog, closed.signal).then((number) => {
    if (closed.signal.aborted) return;
    count = number;
    showCount();
  });
}

/**
 * Show what would be hidden; returns how much that is, null if that is unknown.
 *
 * @param {Api} api
 * @param {string} session
 * @param {HTMLDialogElement} dialog
 * @param {AbortSignal} signal
 */
async function look(api, session, dialog, signal) {
  try {
    const { count, places } = await api.exportPreview(session);
    if (!signal.aborted) slot(dialog, "places").replaceChildren(...places.slice(0, SHOWN).map(placeRow));
    return count;
  } catch (error) {
    const message = find(dialog, ".msg");
    setText(message, messageOf(error, SENTENCES.failedRequest));
    setShown(message, !signal.aborted);
    return null;
  }
}

/** @param {{seq: number|null, tool: string, excerpt: string}} place */
function placeRow({ seq, tool, excerpt }) {
  const row = document.createElement("li");
  const where = document.createElement("b");
  setText(where, [seq === null ? "" : SENTENCES.stepNumber(seq), tool].filter(Boolean).join(" · "));
  const words = document.createElement("span");
  setText(words, excerpt);
  row.append(where, words);
  return row;
}

/** @param {string} address */
function save(address) {
  const link = document.createElement("a");
  link.href = address;
  link.download = "";
  link.click();
}

/**
 * Ask for an ATIF document, and open the session that is made from it.
 *
 * @param {Api} api
 */
export function chooseDocument(api) {
  /** @type {HTMLInputElement} */
  const input = byId("import-file");
  input.value = "";
  setText(byId("import-message"), "");
  input.onchange = () => {
    const file = input.files?.[0];
    if (file) void send(api, file);
  };
  input.click();
}

/**
 * @param {Api} api
 * @param {File} file
 */
async function send(api, file) {
  const message = byId("import-message");
  if (file.size > MOST_BYTES) {
    setText(message, SENTENCES.largeDocument);
    return;
  }
  setText(message, SENTENCES.importing);
  /** @type {object} */
  let trajectory;
  try {
    trajectory = JSON.parse(await file.text());
  } catch {
    setText(message, SENTENCES.noJson);
    return;
  }
  try {
    const { id } = await api.importSession(trajectory);
    location.assign(pathTo(`sessions/${id}/`));
  } catch (error) {
    setText(message, messageOf(error, SENTENCES.failedRequest));
  }
}
