/**
 * Renders the Markdown of models as safe nodes, while it is being written. The grammar and class names are those of
 * chat/rendering/markdown.py.
 *
 * The libraries are loaded when first needed; if one is missing, the text stays plain. The renderer's output passes through DOMPurify, and
 * gets into the document only as its TrustedHTML.
 */

import { visible } from "./dom.js";
import { leadsSomewhere, otherHost } from "./markdown-links.js";
import { addRules, mayHaveFootnotes } from "./markdown-rules.js";

/** A token of markdown-it. @typedef {{
 *   type: string, tag: string, attrs: [string, string][]|null, map: [number, number]|null, nesting: number, level: number,
 *   children: Token[]|null, content: string, markup: string, info: string, meta: any, block: boolean, hidden: boolean,
 *   attrGet(name: string): string|null, attrSet(name: string, value: string): void,
 * }} Token */

/** @typedef {(tokens: Token[], index: number, options: any, env: any, self: any) => string} Rule */

/**
 * `parse` turns a text into tokens; `env` keeps the text's definitions. `toTemplate` makes safe nodes of tokens.
 *
 * @typedef {{parse(text: string, env: object): Token[], toTemplate(tokens: Token[], env: object): DocumentFragment}} Renderer
 */

const TAGS = (
  "a blockquote br code del details div em h3 h4 h5 h6 header hr ins kbd li mark ol p pre s span strong sub summary sup table " +
  "tbody td th thead tr ul"
).split(" ");
const ATTRIBUTES = ["class", "data-language", "dir", "href", "open", "rel", "start", "target", "title"];
/** Longer formulas stay as they were written. */
const LONGEST_TEX = 10_000;
/** Milliseconds of formulas in one go. */
const STRETCH = 30;

/** Import a library by its name in the page's import map. (A literal name would be taken for one of our files when names are hashed.) */
export const bring = (/** @type {string} */ name) => import(name);

const REL = "noopener noreferrer nofollow";

/** @type {Promise<Renderer|null>|null} */
let loading = null;
/** @type {Renderer|null} */
let renderer = null;

/** Load the libraries. Returns the renderer, or null if they cannot be loaded. */
export function load() {
  loading ??= Promise.all([bring("markdown-it"), bring("markdown-it-footnote"), bring("dompurify")]).then(
    ([markdownIt, footnote, purify]) => (renderer = build(makeParsers(markdownIt.default, footnote.default), purify.default)),
    () => null,
  );
  return loading;
}

/** The renderer if `load` has finished, else null. */
export function loaded() {
  return renderer;
}

/**
 * Two parsers: one with footnotes, one without.
 *
 * @param {any} MarkdownIt
 * @param {any} footnote
 * @returns {[any, any]}
 */
export function makeParsers(MarkdownIt, footnote) {
  return /** @type {[any, any]} */ ([true, false].map((withFootnotes) => {
    // As deep as on the server.
    const md = new MarkdownIt({ html: false, linkify: true, maxNesting: 20 });
    if (withFootnotes) {
      md.use(footnote);
      md.inline.ruler.disable("footnote_inline");
    }
    addRules(md);
    addRenderRules(md);
    return md;
  }));
}

/**
 * The parser for a text.
 *
 * @param {[any, any]} parsers
 * @param {string} text
 */
export function parserFor([withFootnotes, without], text) {
  return mayHaveFootnotes(text) ? withFootnotes : without;
}

/**
 * @param {[any, any]} parsers
 * @param {any} purify
 * @returns {Renderer}
 */
function build(parsers, purify) {
  /** @param {string} html */
  const sanitize = (html) =>
    purify.sanitize(html, {
      ALLOWED_TAGS: TAGS,
      ALLOWED_ATTR: ATTRIBUTES,
      ALLOW_DATA_ATTR: false,
      ALLOWED_URI_REGEXP: /^(?:https?|mailto|tel):/iu,
      ADD_URI_SAFE_ATTR: ["data-language", "dir", "open", "rel", "start", "target"],
      RETURN_TRUSTED_TYPE: true,
    });
  return {
    parse: (/** @type {string} */ text, /** @type {object} */ env) => parserFor(parsers, text).parse(text, env),
    toTemplate(/** @type {Token[]} */ tokens, /** @type {object} */ env) {
      const [md] = parsers;
      const template = document.createElement("template");
      template.innerHTML = sanitize(visible(md.renderer.render(tokens, md.options, env)));
      return template.content;
    },
  };
}

/** @param {any} md */
function addRenderRules(md) {
  /** @type {{rules: Record<string, Rule>}} */
  const { rules } = md.renderer;
  const { escapeHtml } = md.utils;
  rules.fence = (tokens, index) => {
    const language = (tokens[index].info.trim().split(/\s+/u)[0] ?? "").toLowerCase();
    return (
      `<div class="codeblock"><header>${escapeHtml(language || "text")}</header>` +
      `<pre class="code"><code data-language="${escapeHtml(language)}">${escapeHtml(tokens[index].content)}</code></pre></div>\n`
    );
  };
  rules.code_block = rules.fence;
  /** @param {string} host */
  const hostBeside = (host) => (host ? ` <span class="host">(${escapeHtml(host)})</span>` : "");
  rules.image = (tokens, index, options, env) => {
    const words = md.renderer.renderInlineAsText(tokens[index].children ?? [], options, env) || "image";
    const href = tokens[index].attrGet("src") ?? "";
    if (!leadsSomewhere(href)) return escapeHtml(words);
    return `<a href="${escapeHtml(href)}" target="_blank" rel="${REL}">${escapeHtml(words)}</a>${hostBeside(otherHost(words, href))}`;
  };
  rules.link_open = (tokens, index, options, env, self) => {
    tokens[index].attrSet("rel", REL);
    return self.renderToken(tokens, index, options);
  };
  rules.link_host = (tokens, index) => hostBeside(tokens[index].content);
  /** @type {Rule} */
  const heading = (tokens, index) => {
    const level = Math.min(6, Number(tokens[index].tag[1]) + 2);
    return tokens[index].nesting === 1 ? `<h${level} dir="auto">` : `</h${level}>\n`;
  };
  rules.heading_open = heading;
  rules.heading_close = heading;
  rules.table_open = () => '<div class="x"><table class="grid">\n';
  rules.table_close = () => "</table></div>\n";
  /** @type {Rule} */
  const cell = (tokens, index) => {
    /** @type {Record<string, string>} */
    const align = { "text-align:right": ' class="r"', "text-align:center": ' class="m"' };
    return `<${tokens[index].tag}${align[tokens[index].attrGet("style") ?? ""] ?? ""} dir="auto">`;
  };
  rules.th_open = cell;
  rules.td_open = cell;
  rules.math_inline = (tokens, index) => `<span class="math">${escapeHtml(tokens[index].content)}</span>`;
  rules.math_block = (tokens, index) => `<div class="math">${escapeHtml(tokens[index].content)}</div>\n`;
  // A number without a link: the id of its target would be the same in each answer of a page.
  rules.footnote_ref = (tokens, index) => `<sup>[${tokens[index].meta.id + 1}]</sup>`;
  rules.footnote_block_open = () => '<div class="footnotes">\n<ol>\n';
  rules.footnote_block_close = () => "</ol>\n</div>\n";
  rules.footnote_open = () => "<li>";
  rules.footnote_close = () => "</li>\n";
  rules.footnote_anchor = () => "";
}

/** @type {Promise<any>|null} */
let mathematics = null;

/**
 * Convert TeX to MathML; what cannot be parsed stays as it was written.
 *
 * @param {HTMLElement[]} elements
 */
export async function typeset(elements) {
  const waiting = elements.filter((element) => !element.querySelector("math") && !element.dataset.done);
  if (!waiting.length) return;
  mathematics ??= bring("temml").then(
    (temml) => temml.default,
    () => null,
  );
  const temml = await mathematics;
  if (temml === null) return;
  let began = performance.now();
  for (const element of waiting) {
    if (performance.now() - began > STRETCH) {
      await new Promise((resume) => setTimeout(resume));
      began = performance.now();
    }
    const tex = element.textContent ?? "";
    if (element.dataset.done || tex.length > LONGEST_TEX) continue;
    element.dataset.done = "true";
    try {
      const holder = document.createElement("span");
      temml.render(tex, holder, { displayMode: element.nodeName === "DIV", throwOnError: true, trust: false });
      element.replaceChildren(...holder.childNodes);
      element.title = tex;
      // A long formula scrolls in its own box, also by keys.
      if (element.nodeName === "DIV") element.tabIndex = 0;
    } catch {
      // Invalid TeX is shown as it is.
    }
  }
}
