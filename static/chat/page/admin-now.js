/** The page of what is at work now: asked for anew every two seconds, as long as somebody sees it. */

const EVERY_MS = 2_000;

/** @type {HTMLElement|null} */
const now = document.querySelector("#now");
/** @type {HTMLElement|null} */
const old = document.querySelector("#not-updated");
let shown = "";

/** Ask, and show what is so; what somebody is about to press stays under their finger and their focus. */
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

/** Again and again, each time once the last answer is there. */
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
