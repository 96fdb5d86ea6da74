/**
 * Markdown of models → safe nodes, while it grows. The grammar and class names of chat/rendering.py.
 *
 * The libraries are loaded when first needed; where one is missing, the text stays plain. What comes out of the renderer goes
 * through DOMPurify, and into the document only as a TrustedHTML of it.
 */

const TAGS = (
  "a blockquote br code del div em h3 h4 h5 h6 header hr li ol p pre s span strong table tbody td th thead tr ul"
).split(" ");
const ATTRIBUTES = ["class", "href", "rel", "start", "target", "title", "data-language"];
const HIGHLIGHT_LIMIT = 20_000;

/** A library by the name that the page's import map gives it. (A literal name would be taken for a file of ours when names are hashed.) */
const bring = (name) => import(name);

let libraries = null;

/** The renderer, or null where the libraries are not there. */
export function load() {
  libraries ??= Promise.all([bring("markdown-it"), bring("dompurify")]).then(
    ([markdownIt, purify]) => build(markdownIt.default, purify.default),
    () => null,
  );
  return libraries;
}

function build(MarkdownIt, purify) {
  const md = new MarkdownIt({ html: false, linkify: true });
  // main.py and README.md are no web sites.
  md.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
  md.inline.ruler.before("escape", "math_inline", mathInline);
  md.block.ruler.before("fence", "math_block", mathBlock, { alt: ["paragraph", "blockquote", "list"] });
  dress(md);
  const sanitize = (html) =>
    purify.sanitize(html, {
      ALLOWED_TAGS: TAGS,
      ALLOWED_ATTR: ATTRIBUTES,
      ALLOW_DATA_ATTR: false,
      ALLOWED_URI_REGEXP: /^(?:https?|mailto):/iu,
      ADD_URI_SAFE_ATTR: ["data-language", "rel", "start", "target"],
      RETURN_TRUSTED_TYPE: true,
    });
  return {
    parse: (text, env) => md.parse(text, env),
    toTemplate(tokens, env) {
      const template = document.createElement("template");
      template.innerHTML = sanitize(md.renderer.render(tokens, md.options, env));
      return template.content;
    },
  };
}

function dress(md) {
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
  rules.image = (tokens, index, options, env) => {
    const words = md.renderer.renderInlineAsText(tokens[index].children ?? [], options, env) || "image";
    return `<a href="${escapeHtml(tokens[index].attrGet("src") ?? "")}" target="_blank" rel="noopener noreferrer nofollow">${escapeHtml(words)}</a>`;
  };
  rules.link_open = (tokens, index, options, env, self) => {
    tokens[index].attrSet("target", "_blank");
    tokens[index].attrSet("rel", "noopener noreferrer nofollow");
    return self.renderToken(tokens, index, options);
  };
  const heading = (tokens, index) => {
    const level = Math.min(6, Number(tokens[index].tag[1]) + 2);
    return tokens[index].nesting === 1 ? `<h${level}>` : `</h${level}>\n`;
  };
  rules.heading_open = heading;
  rules.heading_close = heading;
  rules.table_open = () => '<div class="x"><table class="grid">\n';
  rules.table_close = () => "</table></div>\n";
  const cell = (tokens, index) => {
    const align = { "text-align:right": ' class="r"', "text-align:center": ' class="m"' };
    return `<${tokens[index].tag}${align[tokens[index].attrGet("style")] ?? ""}>`;
  };
  rules.th_open = cell;
  rules.td_open = cell;
  rules.math_inline = (tokens, index) => `<span class="math">${escapeHtml(tokens[index].content)}</span>`;
  rules.math_block = (tokens, index) => `<div class="math">${escapeHtml(tokens[index].content)}</div>\n`;
}

const INLINE_MARKS = [
  ["$$", "$$"],
  ["$", "$"],
  ["\\[", "\\]"],
  ["\\(", "\\)"],
];
const BLOCK_MARKS = [
  ["$$", "$$"],
  ["\\[", "\\]"],
];

/** `$x$`, `\(x\)`; a dollar before a space or after one, or before a digit, is money. */
export function mathInline(state, silent) {
  for (const [opening, closing] of INLINE_MARKS) {
    if (!state.src.startsWith(opening, state.pos)) continue;
    const begin = state.pos + opening.length;
    const end = state.src.indexOf(closing, begin);
    const content = end > 0 ? state.src.slice(begin, end) : "";
    if (!content.trim() || end + closing.length > state.posMax) continue;
    if (opening === "$" && (/^\s|\s$/u.test(content) || /[0-9]/u.test(state.src[end + 1] ?? ""))) continue;
    if (!silent) state.push("math_inline", "", 0).content = content;
    state.pos = end + closing.length;
    return true;
  }
  return false;
}

/** A formula on lines of its own, closed by its mark at the end of a line. */
export function mathBlock(state, startLine, endLine, silent) {
  const at = (line) => state.src.slice(state.bMarks[line] + state.tShift[line], state.eMarks[line]);
  const first = at(startLine).trim();
  for (const [opening, closing] of BLOCK_MARKS) {
    if (!first.startsWith(opening)) continue;
    const lines = [first.slice(opening.length)];
    let line = startLine;
    while (!lines.at(-1).trimEnd().endsWith(closing)) {
      line += 1;
      if (line >= endLine || state.isEmpty(line)) return false;
      lines.push(at(line));
    }
    const content = lines.join("\n").trimEnd().slice(0, -closing.length).trim();
    if (!content) return false;
    if (silent) return true;
    const token = state.push("math_block", "", 0);
    token.content = content;
    token.map = [startLine, line + 1];
    state.line = line + 1;
    return true;
  }
  return false;
}

/**
 * Writes one growing text into an element. Blocks that are finished are never touched again: each call parses from the last
 * unfinished block on, and only that block is rendered anew.
 */
export function createWriter(element, renderer) {
  let done = 0;
  let doneNodes = [];
  let tail = [];
  let shown = "";
  let env = {};

  function write(text) {
    if (!text.startsWith(shown.slice(0, done))) reset();
    shown = text;
    const rest = text.slice(done);
    const tokens = renderer.parse(rest, env);
    const starts = topLevel(tokens);
    for (const node of tail) node.remove();
    tail = [];
    const last = starts.at(-1);
    if (starts.length > 1) {
      const settled = place(renderer.toTemplate(tokens.slice(0, last), env));
      doneNodes.push(...settled);
      done += lineOffset(rest, tokens[last].map[0]);
    }
    if (last !== undefined) tail = place(renderer.toTemplate(tokens.slice(last), env));
    return doneNodes;
  }

  function place(content) {
    const nodes = [...content.childNodes];
    element.append(content);
    return nodes;
  }

  function reset() {
    element.replaceChildren();
    done = 0;
    doneNodes = [];
    tail = [];
    shown = "";
    env = {};
  }

  /** The whole text at its end. Where it defines links, an earlier block may read differently now: all is rendered once more. */
  function finish(text) {
    if (Object.keys(env.references ?? {}).length) reset();
    return [...write(text), ...tail];
  }

  return { write, finish };
}

function topLevel(tokens) {
  const starts = [];
  tokens.forEach((token, index) => {
    if (token.level === 0 && token.nesting >= 0 && token.map) starts.push(index);
  });
  return starts;
}

function lineOffset(text, line) {
  let offset = 0;
  for (let count = 0; count < line; count += 1) {
    const end = text.indexOf("\n", offset);
    if (end < 0) return text.length;
    offset = end + 1;
  }
  return offset;
}

let highlighter = null;

/** Colour the code of finished blocks, by classes alone. */
export async function highlight(elements) {
  const waiting = elements.filter((code) => !code.dataset.done && code.textContent.length <= HIGHLIGHT_LIMIT);
  if (!waiting.length) return;
  highlighter ??= Promise.all([bring("highlight.js"), bring("dompurify")]).then(
    ([hljs, purify]) => ({ hljs: hljs.default, purify: purify.default }),
    () => null,
  );
  const loaded = await highlighter;
  if (loaded === null) return;
  for (const code of waiting) {
    const { language } = code.dataset;
    if (!language || !loaded.hljs.getLanguage(language)) continue;
    const { value } = loaded.hljs.highlight(code.textContent, { language, ignoreIllegals: true });
    code.innerHTML = loaded.purify.sanitize(value, {
      ALLOWED_TAGS: ["span"],
      ALLOWED_ATTR: ["class"],
      RETURN_TRUSTED_TYPE: true,
    });
    code.dataset.done = "true";
  }
}

let mathematics = null;

/** Turn TeX into MathML; what cannot be read stays as it was written. */
export async function typeset(elements) {
  const waiting = elements.filter((element) => !element.querySelector("math") && !element.dataset.done);
  if (!waiting.length) return;
  mathematics ??= bring("temml").then(
    (temml) => temml.default,
    () => null,
  );
  const temml = await mathematics;
  if (temml === null) return;
  for (const element of waiting) {
    const tex = element.textContent;
    element.dataset.done = "true";
    try {
      const holder = document.createElement("span");
      temml.render(tex, holder, { displayMode: element.nodeName === "DIV", throwOnError: true, trust: false });
      element.replaceChildren(...holder.childNodes);
      element.title = tex;
      // A long formula scrolls in its own box, by keys too.
      if (element.nodeName === "DIV") element.tabIndex = 0;
    } catch {
      // Unreadable TeX is shown as it is.
    }
  }
}
