/**
 * Our additions to CommonMark, tables and strikethrough: the rules of agents/untrusted/markdown_rules.py, which has the reasons. No rule
 * reads further ahead than a fixed number of characters, or reads the same text twice.
 */

import { address, links } from "./markdown-links.js";

/** @import { Token } from "./markdown.js" */

export const ALERTS = ["note", "tip", "important", "warning", "caution"];
const LONGEST_FORMULA = 2_000;
/** The longest text in which footnotes are recognised, and the largest number of their marks. */
const FOOTNOTES_IN = 200_000;
const MOST_FOOTNOTES = 1_000;

/**
 * Add our rules to a parser.
 *
 * @param {any} md
 */
export function addRules(md) {
  // main.py and README.md are not web sites.
  md.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
  // The library's own two rules search the whole text for each address.
  md.core.ruler.disable("linkify");
  md.inline.ruler.at("linkify", address);
  md.inline.ruler.before("escape", "math_inline", mathInline);
  md.inline.ruler.before("html_inline", "harmless_tag", harmlessTag);
  md.block.ruler.before("fence", "math_block", mathBlock, { alt: ["paragraph", "blockquote", "list"] });
  md.block.ruler.before("fence", "details", details, { alt: ["paragraph", "blockquote", "list"] });
  md.core.ruler.before("inline", "alerts", alerts);
  md.core.ruler.push("tasks", tasks);
  md.core.ruler.push("links", links);
  md.core.ruler.push("direction", direction);
  const { isWhiteSpace, isMdAsciiPunct, isPunctChar } = md.utils;
  /** @param {string} char */
  const isPunctuation = (char) => isMdAsciiPunct(char.codePointAt(0)) || isPunctChar(char);
  /** @param {string} char */
  const isSpace = (char) => isWhiteSpace(char.codePointAt(0));
  md.inline.State = class extends md.inline.State {
    /** @param {number} start @param {boolean} canSplitWord */
    scanDelims(start, canSplitWord) {
      return scanDelims(this, start, canSplitWord, isSpace, isPunctuation);
    }
  };
}

/**
 * Whether a text may have footnotes: the library takes time that grows with the square of their number.
 *
 * @param {string} text
 */
export function mayHaveFootnotes(text) {
  return text.length <= FOOTNOTES_IN && text.split("[^", MOST_FOOTNOTES + 2).length <= MOST_FOOTNOTES + 1;
}

// Formulas

const INLINE_MARKS = [
  ["$$", "$$"],
  ["$", "$"],
  ["\\[", "\\]"],
  ["\\(", "\\)"],
];
/** @type {[string, string][]} */
const BLOCK_MARKS = [
  ["$$", "$$"],
  ["\\[", "\\]"],
];
const ENVIRONMENT = /^\\begin\{((?:equation|align|alignat|gather|multline|eqnarray|flalign)\*?)\}/u;

/**
 * `$x$`, `\(x\)`; dollars that mean money or a variable of a shell do not begin a formula.
 *
 * @param {any} state
 * @param {boolean} silent
 */
function mathInline(state, silent) {
  for (const [opening, closing] of INLINE_MARKS) {
    if (!state.src.startsWith(opening, state.pos)) continue;
    const begin = state.pos + opening.length;
    const end = nextMark(state, closing, begin);
    const isNear = end - begin <= LONGEST_FORMULA && end + closing.length <= state.posMax;
    const content = isNear ? state.src.slice(begin, end) : "";
    if (!content.trim() || (opening === "$" && !isFormula(state.src, state.pos, end))) continue;
    if (!silent) state.push("math_inline", "", 0).content = content;
    state.pos = end + closing.length;
    return true;
  }
  return false;
}

/** Where each mark was found last, and from where it was searched, so that no text is searched twice. */
/** @type {WeakMap<object, Map<string, [number, number]>>} */
const lastFound = new WeakMap();

/**
 * @param {any} state
 * @param {string} mark
 * @param {number} begin
 */
function nextMark(state, mark, begin) {
  const known = lastFound.get(state) ?? new Map();
  lastFound.set(state, known);
  const [from, at] = known.get(mark) ?? [0, -1];
  if (from <= begin && begin <= at) return at;
  const found = state.src.indexOf(mark, begin);
  const next = found < 0 ? Infinity : found;
  known.set(mark, [begin, next]);
  return next;
}

/**
 * Whether the text between single dollars at two positions is a formula.
 *
 * @param {string} src
 * @param {number} start
 * @param {number} end
 */
function isFormula(src, start, end) {
  const content = src.slice(start + 1, end);
  if (/[A-Za-z0-9]/u.test(src[start - 1] ?? "")) return false;
  if (/[A-Za-z0-9{_]/u.test(src[end + 1] ?? "")) return false;
  if (/^[\s/,.;:!?)]|\s$/u.test(content)) return false;
  return !(/^\p{Nd}/u.test(content) && !content.includes("\\") && /\s[A-Za-z]{2,}/u.test(content));
}

/**
 * A formula on lines of its own; its closing mark is at the end of a line.
 *
 * @param {any} state
 * @param {number} startLine
 * @param {number} endLine
 * @param {boolean} silent
 */
function mathBlock(state, startLine, endLine, silent) {
  const first = lineOf(state, startLine).trim();
  const marks = blockMarks(first);
  if (!marks) return false;
  const [opening, closing, keep] = marks;
  const lines = [first.slice(opening.length)];
  const line = closingLine(state, startLine, endLine, lines, closing);
  if (line === null) return false;
  const content = lines.join("\n").trimEnd().slice(0, -closing.length).trim();
  if (!content) return false;
  if (silent) return true;
  const token = state.push("math_block", "", 0);
  token.content = keep ? `${opening}${content}${closing}` : content;
  token.map = [startLine, line + 1];
  state.line = line + 1;
  return true;
}

/**
 * The marks that open and close a formula, and whether they are part of it.
 *
 * @param {string} first the line that may open one
 * @returns {[string, string, boolean?]|undefined}
 */
function blockMarks(first) {
  const found = ENVIRONMENT.exec(first);
  if (found) return [found[0], `\\end{${found[1]}}`, true];
  return BLOCK_MARKS.find(([opening]) => first.startsWith(opening));
}

/** Where marks were searched without success: a search from within that range would fail too. */
/** @type {WeakMap<object, Map<string, [number, number]>>} */
const unclosed = new WeakMap();

/**
 * @param {any} state
 * @param {number} start
 * @param {number} end
 * @param {string[]} lines
 * @param {string} closing
 */
function closingLine(state, start, end, lines, closing) {
  const known = unclosed.get(state) ?? new Map();
  unclosed.set(state, known);
  const key = `${closing} ${end} ${state.blkIndent} ${state.level}`;
  const [first, last] = known.get(key) ?? [0, 0];
  if (first <= start && start < last && !lines[0].trimEnd().endsWith(closing)) return null;
  let line = start;
  while (!lines[lines.length - 1].trimEnd().endsWith(closing)) {
    line += 1;
    if (line >= end || state.isEmpty(line)) {
      known.set(key, [start, line]);
      return null;
    }
    lines.push(lineOf(state, line));
  }
  return line;
}

/**
 * @param {any} state
 * @param {number} line
 * @returns {string}
 */
function lineOf(state, line) {
  return state.src.slice(state.bMarks[line] + state.tShift[line], state.eMarks[line]);
}

// Tags

const HARMLESS = /^<(?:br ?\/?|\/?(?:sub|sup|kbd|mark|ins))>/iu;
const LONGEST_TAG = 8;
const DETAILS = /^<details( open)?>[ \t]*(?:<summary>(.*)<\/summary>)?$/iu;
const SUMMARY = /^<summary>(.*)<\/summary>$/iu;

/**
 * A few tags without attributes, which models use where Markdown has no syntax: `<br>` in a cell.
 *
 * @param {any} state
 * @param {boolean} silent
 */
function harmlessTag(state, silent) {
  if (state.src[state.pos] !== "<") return false;
  const found = HARMLESS.exec(state.src.slice(state.pos, state.pos + LONGEST_TAG));
  if (!found) return false;
  if (!silent) {
    const tag = found[0].toLowerCase();
    state.push("html_inline", "", 0).content = tag.startsWith("<br") ? "<br>" : tag;
  }
  state.pos += found[0].length;
  return true;
}

/**
 * `<details>` on a line of its own, up to its `</details>` or the end; its content is Markdown.
 *
 * @param {any} state
 * @param {number} startLine
 * @param {number} endLine
 * @param {boolean} silent
 */
function details(state, startLine, endLine, silent) {
  const found = state.sCount[startLine] - state.blkIndent < 4 ? DETAILS.exec(lineOf(state, startLine).trim()) : null;
  if (!found) return false;
  if (silent) return true;
  let content = startLine + 1;
  let summary = found[2];
  if (summary === undefined && content < endLine) {
    const named = SUMMARY.exec(lineOf(state, content).trim());
    if (named) {
      content += 1;
      summary = named[1];
    }
  }
  const end = endOfDetails(state, content, endLine);
  const opened = state.push("details_open", "details", 1);
  if (found[1]) opened.attrSet("open", "");
  state.push("summary_open", "summary", 1);
  const inline = state.push("inline", "", 0);
  inline.content = (summary ?? "").trim() || "…";
  inline.children = [];
  inline.map = [startLine, content];
  state.push("summary_close", "summary", -1);
  const { lineMax } = state;
  state.lineMax = end;
  state.md.block.tokenize(state, content, end);
  state.lineMax = lineMax;
  state.push("details_close", "details", -1);
  state.line = Math.min(end + 1, endLine);
  opened.map = [startLine, state.line];
  return true;
}

/**
 * @param {any} state
 * @param {number} start
 * @param {number} end
 */
function endOfDetails(state, start, end) {
  let depth = 1;
  for (let line = start; line < end; line += 1) {
    const words = lineOf(state, line).trim().toLowerCase();
    depth += DETAILS.test(words) ? 1 : words === "</details>" ? -1 : 0;
    if (depth === 0) return line;
  }
  return end;
}

// Lists and boxes

const TASK = /^\[([ xX])\][ \t]+(?=\S)/u;
const ALERT = new RegExp(`^\\[!(${ALERTS.join("|")})\\][ \\t]*(?:\\n|$)`, "iu");

/**
 * `- [ ] to do`.
 *
 * @param {any} state
 */
function tasks(state) {
  for (let at = 2; at < state.tokens.length; at += 1) {
    const [item, paragraph, inline] = state.tokens.slice(at - 2, at + 1);
    if (item.type !== "list_item_open" || paragraph.type !== "paragraph_open" || inline.type !== "inline") continue;
    const found = TASK.exec(inline.content);
    const first = inline.children[0];
    if (!found || first?.type !== "text") continue;
    first.content = (found[1] === " " ? "☐ " : "☑ ") + first.content.slice(3).trimStart();
    item.attrSet("class", "task");
  }
}

/**
 * `> [!NOTE]`.
 *
 * @param {any} state
 */
function alerts(state) {
  /** @type {Token[]} */
  const tokens = [];
  state.tokens.forEach((/** @type {Token} */ token, /** @type {number} */ at) => {
    tokens.push(token);
    const [paragraph, inline] = state.tokens.slice(at + 1, at + 3);
    if (token.type !== "blockquote_open" || paragraph?.type !== "paragraph_open" || !inline) return;
    const found = ALERT.exec(inline.content);
    if (!found) return;
    const kind = found[1].toLowerCase();
    const words = kind[0].toUpperCase() + kind.slice(1);
    token.attrSet("class", `alert ${kind}`);
    inline.content = inline.content.slice(found[0].length);
    if (inline.content) {
      tokens.push(...title(state, words, paragraph));
    } else {
      inline.content = words;
      paragraph.attrSet("class", "alert-title");
    }
  });
  state.tokens = tokens;
}

/**
 * @param {any} state
 * @param {string} words
 * @param {Token} next
 * @returns {Token[]}
 */
function title(state, words, next) {
  const opening = new state.Token("paragraph_open", "p", 1);
  const inline = new state.Token("inline", "", 0);
  const closing = new state.Token("paragraph_close", "p", -1);
  opening.attrSet("class", "alert-title");
  inline.content = words;
  inline.children = [];
  for (const token of [opening, inline, closing]) {
    Object.assign(token, { block: true, level: next.level + (token === inline ? 1 : 0), map: next.map });
  }
  return [opening, inline, closing];
}

const DIRECTED = new Set(["paragraph_open", "blockquote_open", "bullet_list_open", "ordered_list_open", "details_open"]);

/**
 * Each block has the direction of its own text; a list or quotation has one direction as a whole, so that its marks are on that side.
 *
 * @param {any} state
 */
function direction(state) {
  for (const token of state.tokens) {
    if (token.level === 0 && DIRECTED.has(token.type)) token.attrSet("dir", "auto");
  }
}

// Emphasis beside Chinese, Japanese and Korean

const CJK =
  /[\u1100-\u11ff\u20a9\u2329-\u232a\u2630-\u2637\u268a-\u268f\u2e80-\u2e99\u2e9b-\u2ef3\u2f00-\u303e\u3041-\u3247\u3250-\ua4c6\ua960-\ua97c\uac00-\ud7fb\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6b\uff01-\uffee\u{16fe0}-\u{18dff}\u{1aff0}-\u{1b2ff}\u{1d300}-\u{1d376}\u{1f200}\u{1f202}\u{1f210}-\u{1f219}\u{1f21b}-\u{1f22e}\u{1f230}-\u{1f231}\u{1f237}\u{1f23b}\u{1f240}-\u{1f248}\u{20000}-\u{3fffd}]/u;

/**
 * Whether stars and similar marks open or close emphasis: CommonMark with the rule of markdown-cjk-friendly.
 *
 * @param {any} state
 * @param {number} start
 * @param {boolean} canSplitWord
 * @param {(char: string) => boolean} isSpace
 * @param {(char: string) => boolean} isPunctuation
 */
function scanDelims(state, start, canSplitWord, isSpace, isPunctuation) {
  let end = start;
  while (end < state.posMax && state.src[end] === state.src[start]) end += 1;
  let before = charBefore(state.src, start);
  if (/^[\ufe00-\ufe0e]$/u.test(before) && start > 1) before = charBefore(state.src, start - 1);
  const after = end < state.posMax ? String.fromCodePoint(state.src.codePointAt(end)) : " ";
  const length = end - start;
  if (isSpace(before) || isSpace(after)) return { can_open: !isSpace(after), can_close: !isSpace(before), length };
  const wasPunctuation = isPunctuation(before);
  const nextPunctuation = isPunctuation(after);
  let opens = wasPunctuation;
  let closes = nextPunctuation;
  if (canSplitWord) {
    const cjk = CJK.test(before) || CJK.test(after);
    opens ||= cjk || !nextPunctuation;
    closes ||= cjk || !wasPunctuation;
  }
  return { can_open: opens, can_close: closes, length };
}

/**
 * @param {string} src
 * @param {number} at
 */
function charBefore(src, at) {
  if (at <= 0) return " ";
  const pair = at > 1 && /[\udc00-\udfff]/.test(src[at - 1]) && /[\ud800-\udbff]/.test(src[at - 2]);
  return src.slice(pair ? at - 2 : at - 1, at);
}
