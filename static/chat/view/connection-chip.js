/**
 * The connection's chip, and the sentence behind it.
 */

import { byId, clone, find, make, setData, setIcon, setText } from "../lib/dom.js";
import { connection } from "../state/messages.js";

/** @import { Link } from "../state/types.js" */

/** The symbols of tones that have one; the others have a dot. @type {Record<string, string>} */
const SYMBOLS = { wait: "refresh", fail: "offline" };
/** @type {Record<string, string>} */
const DOTS = { live: "live", catching_up: "queue" };

/**
 * @param {Link} link
 */
export function paintConnection(link) {
  const { label, sub, tone, more } = connection(link);
  const chip = byId("chip");
  chip.className = `chip ${tone}`;
  setData(chip, "state", link.word);
  paintSymbol(chip, SYMBOLS[tone], DOTS[link.word] ?? "done");
  const words = find(chip, ".lbl");
  const text = sub ? `${label} · ${sub}` : label;
  if (words.dataset.text !== text) {
    words.dataset.text = text;
    words.replaceChildren(`${label} `, ...(sub ? [make("span", `· ${sub}`, "sub num")] : []));
  }
  chip.title = more;
  setText(byId("link-words"), more);
}

/**
 * @param {HTMLElement} chip
 * @param {string|undefined} symbol
 * @param {string} dot
 */
function paintSymbol(chip, symbol, dot) {
  const first = /** @type {Element} */ (chip.firstElementChild);
  if (symbol) {
    const svg = first.matches("svg") ? first : find(clone("copy"), "svg");
    svg.setAttribute("class", "i");
    setIcon(svg, symbol);
    if (svg !== first) first.replaceWith(svg);
  } else {
    const shape = first.matches(".dot") ? first : make("span");
    shape.className = `dot ${dot}`;
    if (shape !== first) first.replaceWith(shape);
  }
}
