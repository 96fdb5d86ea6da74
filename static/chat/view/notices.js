/**
 * Lines across the top of a page: what the reader should know and may close.
 */

import { clone, say, setIcon, slot } from "../lib/dom.js";

const notices = document.getElementById("notices");

/** How long a line stays that tells what has just happened, and is true for that moment alone. */
const PASSING = 5_000;

/**
 * One line across the page. A notice of the same kind takes its place. Whoever shows one of something that lasts closes it when that
 * has passed; a `passing` one goes by itself.
 */
export function notice(
  kind,
  { title: head = "", text = "", tone = "", icon = "bell", button = null, link: where = null, closable = true, passing = false },
) {
  closeNotice(kind);
  const banner = clone("banner");
  banner.dataset.kind = kind;
  if (tone) banner.classList.add(tone);
  setIcon(slot(banner, "icon"), icon);
  say(slot(banner, "title"), head);
  say(slot(banner, "text"), text);
  if (button) {
    const element = slot(banner, "button");
    element.hidden = false;
    say(element, button.text);
    element.addEventListener("click", button.run);
  }
  if (where) {
    const element = slot(banner, "link");
    element.hidden = false;
    say(element, where.text);
    element.href = where.href;
  }
  const close = banner.querySelector('[data-action="close-banner"]');
  close.hidden = !closable;
  close.addEventListener("click", () => banner.remove());
  banner.setAttribute("role", "status");
  notices.append(banner);
  if (passing) setTimeout(() => banner.remove(), PASSING);
}

/** Take a notice away, if it is there. */
export function closeNotice(kind) {
  for (const banner of [...notices.children]) if (banner.dataset.kind === kind) banner.remove();
}
