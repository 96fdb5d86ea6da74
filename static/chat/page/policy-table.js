/**
 * The table of an agent's rules: rules are moved, added, removed, and tried on a call before saving.
 */

const box = /** @type {HTMLElement|null} */ (document.querySelector("[data-policy]"));

/** @param {HTMLElement} of */
function setUp(of) {
  const rows = /** @type {HTMLTableSectionElement} */ (of.querySelector("tbody"));
  const empty = /** @type {HTMLTableRowElement} */ (rows.lastElementChild?.cloneNode(true));
  const offered = /** @type {NodeListOf<HTMLElement>} */ (of.querySelectorAll("[hidden]"));
  for (const element of offered) element.hidden = false;
  for (const button of empty.querySelectorAll("button")) button.hidden = false;

  of.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? /** @type {HTMLElement|null} */ (event.target.closest("[data-act]")) : null;
    const row = button?.closest("tr");
    if (!button) return;
    if (button.dataset.act === "add") {
      const added = rows.appendChild(/** @type {HTMLTableRowElement} */ (empty.cloneNode(true)));
      added.querySelector("input")?.focus();
    } else if (button.dataset.act === "try") void tryCall(of);
    else if (row) move(row, button);
  });
  of.querySelector("[data-call]")?.addEventListener("keydown", (event) => {
    if (/** @type {KeyboardEvent} */ (event).key !== "Enter") return;
    event.preventDefault();
    void tryCall(of);
  });
}

/**
 * @param {HTMLTableRowElement} row
 * @param {HTMLElement} button
 */
function move(row, button) {
  const { act } = button.dataset;
  if (act === "remove") {
    row.remove();
    return;
  }
  if (act === "up") row.previousElementSibling?.before(row);
  else row.nextElementSibling?.after(row);
  button.focus();
}

/** @param {HTMLElement} of */
async function tryCall(of) {
  const place = /** @type {HTMLElement} */ (of.querySelector(".policy-try"));
  const output = /** @type {HTMLOutputElement} */ (place.querySelector("output"));
  const form = of.closest("form");
  if (!form) return;
  const data = new FormData(form);
  data.set("call", /** @type {HTMLInputElement} */ (place.querySelector("[data-call]")).value);
  const answer = await fetch(place.dataset.address ?? "", { method: "POST", body: data }).catch(() => null);
  if (answer?.ok) output.textContent = (await answer.json()).text;
}

if (box) setUp(box);
