/**
 * The start page: the first message creates the session, and is sent by its page, from the outbox.
 */

import { pathTo } from "../transport/addresses.js";
import { ApiError } from "../transport/api.js";
import { byId, closestTo, find } from "../lib/dom.js";
import { attachmentsOf } from "../view/attachments.js";
import { createComposer } from "../view/composer.js";
import { createDraft } from "../state/drafts.js";
import { createOutbox } from "../transport/outbox.js";
import { newId } from "../lib/platform.js";
import { localStore, readText, removeText, tabStore, writeText } from "../lib/storage.js";
import { onKey } from "./keys.js";
import { onReturn, refresh } from "./session-list.js";
import { api } from "./shell.js";
import { SENTENCES } from "../state/messages.js";

/**
 * The key of the request for a session, and its first message: stored until there is a session.
 * @typedef {{wish: string, key: string, message: string|null, id: string|null}} Kept
 */

/** @import { FileData } from "../state/types.js" */

/** @type {import("../state/types.js").Page} */
const page = JSON.parse(byId("page-state").textContent ?? "");
const storage = localStore();

const composer = createComposer({
  form: byId("composer"),
  openDraft: (hooks) => createDraft({ storage, tab: tabStore(), user: page.user, session: "new", ...hooks }),
  most: page.max_chars,
  attachments: attachmentsOf(byId("composer"), page),
  onSend: begin,
});
composer.focus();
onKey("Escape", () => composer.focus());

let beginning = false;
/** Where that is stored: after a lost answer the same request must not create a second session. */
const asked = `thinkaloud.beginning.${page.user}`;
/** @type {Kept|null} */
let keep = null;

/** @param {{agent_name: string, enable_reasoning: boolean}} choice */
function keyFor({ agent_name, enable_reasoning }) {
  const wish = JSON.stringify([agent_name, enable_reasoning]);
  try {
    keep ??= JSON.parse(readText(tabStore(), asked) ?? "null");
  } catch {
    keep = null;
  }
  if (keep?.wish !== wish) keep = { wish, key: newId(), message: null, id: null };
  remember(keep);
  return keep.key;
}

/**
 * The same text with the same files is the same message, however often it is sent.
 *
 * @param {{message: string, files: FileData[]}} message
 */
function idFor({ message, files }) {
  const content = JSON.stringify([message, ...files.map((file) => file.id)]);
  const id = keep?.message === content && keep.id !== null ? keep.id : newId();
  if (keep) remember({ ...keep, message: content, id });
  return id;
}

/** If it cannot be stored, it is known as long as this page is open. @param {Kept|null} next */
function remember(next) {
  if (next === null) removeText(tabStore(), asked);
  else writeText(tabStore(), asked, JSON.stringify(next));
  keep = next;
}

/** @param {{message: string, files: FileData[], agent_name: string, enable_reasoning: boolean}} message */
async function begin(message) {
  if (beginning) return;
  beginning = true;
  composer.disable(true);
  try {
    const { agent_name, enable_reasoning } = message;
    const { id } = await api.createSession({ agent_name, enable_reasoning }, keyFor(message));
    const outbox = createOutbox({ storage, user: page.user, session: id });
    const item = outbox.add({ ...message, client_message_id: idFor(message), at: Date.now() });
    if (!outbox.isSaved) {
      // Without storage the message is sent from here.
      const files = message.files.map((file) => file.id);
      await api.send(id, { ...message, files, client_message_id: item.client_message_id });
    }
    // What was typed meanwhile was not sent.
    if (composer.text === message.message) composer.clear();
    remember(null);
    location.assign(pathTo(`sessions/${id}/`));
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) location.assign(pathTo(`accounts/login/?next=${location.pathname}`));
    // Another user may have logged in: the list finds out, and when that has passed.
    if (error instanceof ApiError && error.status === 403) void refresh();
    composer.refuse(error instanceof ApiError ? error.message || SENTENCES.failedRequest : SENTENCES.offlineStart);
    beginning = false;
    composer.disable(false);
  }
}

addEventListener("online", () => composer.refuse(""));
onReturn(() => composer.refuse(""));

// A page that comes back from the back/forward cache may send again.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  beginning = false;
  composer.disable(false);
});

document.addEventListener("click", (event) => {
  const starter = closestTo(event, '[data-action="starter"]');
  if (!starter) return;
  event.preventDefault();
  composer.offer(find(starter, "span").textContent ?? "");
});
// If something fails before this line, the page reports that by itself.
byId("not-started").remove();
