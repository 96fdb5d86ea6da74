/** The page of running runs: requested again every two seconds while it is visible. */

const EVERY_MS = 2_000;

/** @type {HTMLElement|null} */
const now = document.querySelector("#now");
/** @type {HTMLElement|null} */
const old = document.querySelector("#not-updated");
let shown = "";

/** Request the page and show it; a button that is focused or about to be pressed stays in place. */
async function update() {
  if (!now || document.hidden || now.querySelector(":active")) return;
  const answer = await fetch(now.dataset.part ?? "", { redirect: "error", headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(String(answer.status));
  const text = await answer.text();
  if (text === shown) return;
  shown = text;
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const { id } = document.activeElement ?? {};
  now.replaceChildren(...fresh.body.childNodes);
  if (id && document.activeElement?.id !== id) document.getElementById(id)?.focus({ preventScroll: true });
}

/** Repeat, each time after the last answer has arrived. */
async function follow() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    let isOld = false;
    try {
      await update();
    } catch {
      isOld = true;
    }
    old?.toggleAttribute("hidden", !isOld);
  }
}

follow();
