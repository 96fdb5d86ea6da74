/**
 * The start page: the first message makes the session, and is carried over to its page in the outbox.
 */

import { pathTo } from "../transport/addresses.js";
import { ApiError } from "../transport/api.js";
import { createComposer } from "../view/composer.js";
import { createDraft } from "../state/drafts.js";
import { createOutbox, localStore, tabStore } from "../transport/outbox.js";
import { newId } from "../lib/platform.js";
import { api, onKey } from "./shell.js";
import { SENTENCES } from "../state/humanize.js";

const page = JSON.parse(document.getElementById("page-state").textContent);
const storage = localStore();

const composer = createComposer({
  form: document.getElementById("composer"),
  openDraft: (hooks) => createDraft({ storage, tab: tabStore(), user: page.user, session: "new", ...hooks }),
  most: page.max_chars,
  onSend: begin,
});
composer.focus();
onKey("Escape", () => composer.focus());

let beginning = false;
/** What the session is asked for by, until there is one: an answer that was lost must not leave a second session. */
const asked = `thinkaloud.beginning.${page.user}`;
let keep = null;

function keyFor({ agent_name, enable_reasoning }) {
  const wish = JSON.stringify([agent_name, enable_reasoning]);
  try {
    keep ??= JSON.parse(tabStore()?.getItem(asked) ?? "null");
  } catch {
    keep = null;
  }
  if (keep?.wish !== wish) keep = { wish, key: newId(), message: null, id: null };
  return remember(keep);
}

/** The same text is the same message, however often it is sent. */
function idFor({ message }) {
  if (keep.message !== message) keep = { ...keep, message, id: newId() };
  return remember(keep).id;
}

function remember(next) {
  try {
    if (next === null) tabStore()?.removeItem(asked);
    else tabStore()?.setItem(asked, JSON.stringify(next));
  } catch {
    // Known for as long as this page is open, then.
  }
  keep = next;
  return next;
}

async function begin(message) {
  if (beginning) return;
  beginning = true;
  composer.disable(true);
  try {
    const { agent_name, enable_reasoning } = message;
    const { id } = await api.createSession({ agent_name, enable_reasoning }, keyFor(message).key);
    const outbox = createOutbox({ storage, user: page.user, session: id });
    const item = outbox.add({ ...message, client_message_id: idFor(message), at: Date.now() });
    if (!outbox.isSaved) {
      // No storage to carry it over: it goes out from here.
      await api.send(id, { ...message, client_message_id: item.client_message_id });
    }
    // What was typed meanwhile is not what was sent.
    if (composer.text === message.message) composer.clear();
    remember(null);
    location.assign(pathTo(`sessions/${id}/`));
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) location.assign(pathTo(`accounts/login/?next=${location.pathname}`));
    composer.refuse(error instanceof ApiError ? error.message || SENTENCES.failedRequest : SENTENCES.offlineStart);
    beginning = false;
    composer.disable(false);
  }
}

addEventListener("online", () => composer.refuse(""));

// A page that comes back from the browser's own memory may send again.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  beginning = false;
  composer.disable(false);
});

document.addEventListener("click", (event) => {
  const starter = event.target.closest('[data-action="starter"]');
  if (!starter) return;
  event.preventDefault();
  composer.offer(starter.querySelector("span").textContent);
});
// Whatever fails before this is told by the page itself.
document.getElementById("not-started").remove();
