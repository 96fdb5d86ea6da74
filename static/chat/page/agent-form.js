/**
 * The form of an agent: offers the models of the chosen server while a model's name is typed.
 */

const server = /** @type {HTMLSelectElement|null} */ (document.getElementById("id_model_server"));
const model = /** @type {HTMLInputElement|null} */ (document.getElementById("id_model"));
const list = document.getElementById("models");

/** The server whose models are in the list. */
let listed = "?";

async function offerModels() {
  if (!server || !list || listed === server.value) return;
  listed = server.value;
  list.replaceChildren();
  const answer = await fetch(`${list.dataset.list}?server=${encodeURIComponent(listed)}`);
  if (!answer.ok || listed !== server.value) return;
  const { models } = /** @type {{models: string[]}} */ (await answer.json());
  list.replaceChildren(...models.map((name) => Object.assign(document.createElement("option"), { value: name })));
}

model?.addEventListener("focus", () => void offerModels());
server?.addEventListener("change", () => void offerModels());
