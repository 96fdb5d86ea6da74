/**
 * The start page: the first message makes the session, and is carried over to its page in the outbox.
 */

import { ApiError } from "./api.js";
import { createComposer } from "./composer.js";
import { createDraft, createOutbox, localStore } from "./outbox.js";
import { api, onKey } from "./shell.js";
import { SENTENCES } from "./words.js";

const page = JSON.parse(document.getElementById("page-state").textContent);
const storage = localStore();

const composer = createComposer({
  form: document.getElementById("composer"),
  draft: createDraft({ storage, user: page.user, session: "new" }),
  most: page.max_chars,
  onSend: begin,
});
composer.focus();
onKey("Escape", () => composer.focus());

let beginning = false;

async function begin(message) {
  if (beginning) return;
  beginning = true;
  composer.disable(true);
  try {
    const { id } = await api.createSession(message.agent_name);
    const outbox = createOutbox({ storage, user: page.user, session: id });
    outbox.add({ ...message, at: Date.now() });
    if (!outbox.isSaved) {
      // No storage to carry it over: it goes out from here.
      await api.send(id, message);
    }
    composer.clear();
    location.assign(`/sessions/${id}/`);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) location.assign(`/accounts/login/?next=${location.pathname}`);
    composer.refuse(error instanceof ApiError ? error.message || SENTENCES.failedRequest : SENTENCES.offlineStart);
    beginning = false;
    composer.disable(false);
  }
}

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
  composer.write(starter.querySelector("span").textContent);
});
