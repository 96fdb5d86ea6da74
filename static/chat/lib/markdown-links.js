/**
 * Addresses in our Markdown: which texts become links, which links are kept, and when the real host is shown beside a link.
 */

/** @import { Token } from "./markdown.js" */

const LONGEST_ADDRESS = 2_000;
const SCHEMES = ["https", "http", "mailto"];
const SOMEWHERE = /^(?:https?|mailto|tel):/iu;
const NO_ADDRESS = /[^\p{L}\p{N}_.\-:/?#@%]+/u;
const UNSEEN = /[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/gu;

/**
 * An address in the text becomes a link.
 *
 * @param {any} state
 * @param {boolean} silent
 */
export function address(state, silent) {
  if (state.linkLevel > 0 || state.src[state.pos] !== ":") return false;
  // Not in the pending text: the engine would copy all of it each time.
  const before = state.src.slice(Math.max(0, state.pos - 8), state.pos);
  const scheme = SCHEMES.find((name) => before.toLowerCase().endsWith(name));
  if (!scheme || /[a-z0-9.+-]/iu.test(before.slice(0, -scheme.length).slice(-1))) return false;
  const start = state.pos - scheme.length;
  let ahead = state.src.slice(start, start + LONGEST_ADDRESS);
  const space = ahead.search(/\s/u);
  if (space < 0 && start + LONGEST_ADDRESS < state.src.length) return false;
  if (space >= 0) ahead = ahead.slice(0, space);
  // Text before "@" only looks like a host.
  const isBlind = scheme !== "mailto" && ahead.slice(scheme.length + 3).split(/[/?#]/u)[0].includes("@");
  const link = isBlind ? null : state.md.linkify.matchAtStart(ahead);
  if (!link || !state.pending.endsWith(before.slice(-scheme.length))) return false;
  // A star at its end belongs to the text around it.
  let end = link.url.length;
  while (link.url[end - 1] === "*") end -= 1;
  const url = link.url.slice(0, end);
  const href = state.md.normalizeLink(url);
  if (!state.md.validateLink(href)) return false;
  if (!silent) {
    state.pending = state.pending.slice(0, -scheme.length);
    state.push("link_open", "a", 1).attrs = [["href", href]];
    state.push("text", "", 0).content = state.md.normalizeLinkText(url);
    state.push("link_close", "a", -1);
  }
  state.pos = start + url.length;
  return true;
}

/**
 * Whether a reader can follow an address.
 *
 * @param {string} href
 */
export function leadsSomewhere(href) {
  return SOMEWHERE.test(href);
}

/**
 * The host of an address, if the link's text names another host; else empty.
 *
 * @param {string} text
 * @param {string} href
 */
export function otherHost(text, href) {
  const host = hostOf(href);
  for (const word of [...text.slice(0, 1000)].slice(0, 500).join("").normalize("NFKC").replace(UNSEEN, "").split(NO_ADDRESS)) {
    const [named, isCredible] = hostIn(word);
    if (named && (!isCredible || (named !== host && !host.endsWith(`.${named}`)))) return host || href.slice(0, 80);
  }
  return "";
}

/** @param {string} href */
function hostOf(href) {
  const [, scheme, rest] = /^([a-z]+):(.*)$/isu.exec(href) ?? ["", "", ""];
  const authority = rest.startsWith("//") ? rest.slice(2).split(/[/?#]/u)[0] : rest.split(/[?#]/u)[0];
  const after = authority.slice(authority.lastIndexOf("@") + 1);
  const host = rest.startsWith("//") ? after.replace(/:[^:\]]*$/u, "").replace(/^\[|\]$/gu, "").toLowerCase() : after;
  return scheme ? host.replace(/^www\./u, "") : "";
}

/**
 * @param {string} word
 * @returns {[string, boolean]}
 */
function hostIn(word) {
  const hasScheme = word.includes("://");
  const authority = (hasScheme ? word.slice(word.indexOf("://") + 3) : word).split(/[/?#]/u)[0];
  const at = authority.lastIndexOf("@");
  const named = authority.slice(at + 1).split(":")[0].replace(/^[.-]+|[.-]+$/gu, "").toLowerCase().replace(/^www\./u, "");
  const last = named.includes(".") ? named.slice(named.lastIndexOf(".") + 1) : "";
  if ([...last].length < 2 || !(/^\p{L}+$/u.test(last) || last.startsWith("xn--"))) return ["", true];
  return [named, !hasScheme || at <= 0];
}

/**
 * A link that leads nowhere becomes text; beside a link whose text names another host, its real host is shown.
 *
 * @param {any} state
 */
export function links(state) {
  for (const token of state.tokens) {
    if (token.type !== "inline" || !token.children.some((/** @type {Token} */ child) => child.type === "link_open")) continue;
    const kept = [];
    const opened = [];
    for (const child of token.children) {
      if (child.type === "link_open") {
        child.attrSet("target", "_blank");
        opened.push([child, kept.length]);
      }
      kept.push(child);
      if (child.type === "link_close" && opened.length) {
        const [opening, at] = /** @type {[Token, number]} */ (opened.pop());
        kept.push(...beside(state, opening, kept.slice(at + 1), child));
      }
    }
    token.children = kept;
  }
}

/**
 * @param {any} state
 * @param {Token} opening
 * @param {Token[]} inside
 * @param {Token} closing
 */
function beside(state, opening, inside, closing) {
  const href = opening.attrGet("href") ?? "";
  const text = inside.map((child) => child.content).join("");
  let shown;
  if (leadsSomewhere(href)) {
    shown = otherHost(text, href);
  } else {
    for (const token of [opening, closing]) Object.assign(token, { type: "text", tag: "", nesting: 0, attrs: null });
    shown = href.startsWith("#") || text.includes(href) ? "" : [...href].slice(0, 200).join("");
  }
  if (!shown) return [];
  const token = new state.Token("link_host", "", 0);
  token.content = shown;
  return [token];
}
