/**
 * The end of a growing Markdown text, prepared so that no mark is visible before its meaning is known: open marks are closed, and marks
 * without a meaning yet are held back. Reads only the last paragraph.
 */

/** Longer paragraphs are shown unchanged. */
const LONGEST = 4_000;

const FENCE = /^ {0,3}(?:```|~~~)/gmu;
/** The last line of code: what opens it, with its language, or a part of what closes it. */
const FENCE_BEGUN = /^[ \t>]*(?:```[^\n]*|~~~[^\n]*|`{1,2}|~{1,2})$/u;

/** A row of a table, which may have no mark at its beginning. */
const ROW = /^[ \t>]*\||^[^|\n`$]*[^|\s`$][ \t]+\|(?:[ \t]|$)/u;
const BELOW_HEAD = /^[ \t>]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/u;
const PART_OF_BELOW = /^[ \t>]*[|:\- \t]*$/u;

/** A line that has only begun: it may become a list, a line across the page, or make a heading of the line before it. */
const LINE_BEGUN = /(^|\n)([ \t>]*)(?:\d{1,3}[.)]?|#{1,6}|[-+*_=](?:[ \t]*[-+*_=])*|`{1,2}|~{1,2})[ \t]*$/u;
/** A box of a task, or the kind of a note, at the beginning of a line. */
const BOX_BEGUN = /((?:^|\n)[ \t>]*(?:(?:[-+*]|\d{1,3}[.)])[ \t]+|>[ \t]*))\[(?:[ xX]?|!?[a-z]*)\]?[ \t]*$/iu;
/** The words that a folded part is opened by come first. */
const DETAILS_BEGUN = /<details>\s*(?:<(?:s(?:u(?:m(?:m(?:a(?:r(?:y)?)?)?)?)?)?)?|<summary>[^]*)?$/iu;

/** A mark at the very end: whether it opens or closes depends on what follows. */
const LAST_MARK = /(?<![a-z0-9)\]*_~\\])(?:\*{1,3}|_{1,3}|~{1,2})$|(?<![a-z0-9)\]\\!])!?\[$|(?:^|(?<=[\s(（「“‘]))(?:!|`{1,3})$|\\[([]?$/iu;
/** It opens or closes a formula, or stands before a price. */
const LAST_SIGN = /(?<![$\\])\$$/u;
const TAG_OR_ENTITY = /<\/?[a-z]{0,8}$|<(?=https?:[^\s<>]*$)|&(?:[a-z]{0,6}|#\d{0,5})$/iu;

const OPEN_FORMULA = /\$\$(?:(?!\$\$)[^])*$|\\\[(?:(?!\\\])[^])*$|\\\((?:(?!\\\))[^])*$|\\begin\{[^]*$/u;
/** A formula between two signs that also stand before prices and variables: short, and not of words. */
const OPEN_SHORT_FORMULA = /(?<=^|[\s(（「：:，,。])\$(?=[a-z\\({-])(?:(?![a-z]{3,}\s+[a-z]{3,})[^$\n]){1,60}$/iu;
const LINK_ADDRESS = /!?\[([^\]\n]*)\]\((?:[^()\n]|\([^()\n]*\))*(?:\([^()\n]*)?$/u;
const LINK_TEXT = /!?(?<![a-z0-9)\]\\])\[(?!\^)([^\]\n]*)\]?$/iu;
/** A link whose address stands elsewhere, under a name: `[the page][1]`; no index or mere numbers, as `a[i][j]` and `[1][2]`. */
const REFERENCE = /(?<![a-z0-9)\]\\])!?\[(?!\^)(?![\d, ]*\])([^[\]\n]*)\]\[([^[\]\n]+)\]/giu;
const REFERENCE_BEGUN = /(?<![a-z0-9)\]\\])!?\[(?!\^)(?![\d, ]*\])([^[\]\n]*)\]\[[^[\]\n]*$/iu;
/** The last line gives such an address, which is not shown. */
const ADDRESS_BEGUN = /(^|\n) {0,3}\[(?!\^)(?:[^[\]\s]{0,20}\]?|[^[\]\n]+\]:[^\n]*)$/u;
const CODE = /(^ {0,3}(?:```|~~~)[^]*?^ {0,3}(?:```|~~~)|`[^`\n]*(?:`|$))/mu;
const NOTE = /\[\^[^\]\n]*$|(?<=^|\n)\[\^[^\]\n]+\]:?[ \t]*$/u;

/**
 * The text as it may be shown. Links to addresses that have not come yet are their words alone.
 *
 * @param {string} text
 * @param {Record<string, unknown>} [addresses] the known ones, by their names in capital letters
 */
export function complete(text, addresses = {}) {
  if (((text.match(FENCE) ?? []).length & 1) === 1) {
    const line = text.lastIndexOf("\n") + 1;
    return text.slice(0, line) + text.slice(line).replace(FENCE_BEGUN, "");
  }
  const from = text.lastIndexOf("\n\n") + 1;
  if (text.length - from > LONGEST) return text;
  return withoutUnknown(text.slice(0, from), addresses) + close(withoutBegun(withoutUnknown(text.slice(from), addresses)));
}

/**
 * @param {string} text
 * @param {Record<string, unknown>} addresses
 */
function withoutUnknown(text, addresses) {
  if (!text.includes("][")) return text;
  const isKnown = (/** @type {string} */ name) => name.trim().replaceAll(/\s+/gu, " ").toUpperCase() in addresses;
  const parts = text.split(CODE).map((part, at) => {
    if (at & 1) return part;
    return part.replace(REFERENCE, (whole, words, name) => (isKnown(name) ? whole : words));
  });
  return parts.join("");
}

/**
 * Without the lines at the end of which it is not known yet what they are.
 *
 * @param {string} paragraph
 */
function withoutBegun(paragraph) {
  const lines = paragraph.split("\n");
  const last = lines.length - 1;
  const isInTable = lines.slice(0, last).some((line, at) => at > 0 && BELOW_HEAD.test(line) && line.includes("-"));
  if (!isInTable && last > 0 && ROW.test(lines[last - 1]) && PART_OF_BELOW.test(lines[last])) return join(lines.slice(0, last - 1));
  if (!isInTable && ROW.test(lines[last])) return join(lines.slice(0, last));
  return paragraph.replace(BOX_BEGUN, "$1").replace(LINE_BEGUN, "$1$2").replace(DETAILS_BEGUN, "").replace(ADDRESS_BEGUN, "$1");
}

/** @param {string[]} lines */
function join(lines) {
  return lines.map((line) => `${line}\n`).join("");
}

/** @param {string} paragraph */
function close(paragraph) {
  const codes = paragraph.split("`").length - 1;
  if (codes & 1) return paragraph.endsWith("`") ? paragraph.replace(/`+$/u, "") : `${paragraph}\``;
  let shown = withoutOpenFormula(paragraph.replace(LAST_SIGN, "")).replace(NOTE, "").replace(TAG_OR_ENTITY, "");
  // A link may begin within emphasis that begins.
  shown = shown.replace(LAST_MARK, "").replace(LAST_MARK, "").replace(LINE_BEGUN, "$1$2");
  shown = shown.replace(REFERENCE_BEGUN, "$1").replace(LINK_ADDRESS, "$1").replace(LINK_TEXT, "$1");
  for (const mark of ["**", "~~", "*"]) shown = closed(shown, mark);
  return closedUnderscores(shown);
}

/** @param {string} paragraph */
function withoutOpenFormula(paragraph) {
  const marks = paragraph.split("$$").length - 1;
  if (marks & 1) return paragraph.slice(0, paragraph.lastIndexOf("$$"));
  const opened = OPEN_FORMULA.exec(paragraph);
  if (opened && !opened[0].startsWith("$$") && !/\\end\{[a-z*]+\}/u.test(opened[0])) return paragraph.slice(0, opened.index);
  return paragraph.replace(OPEN_SHORT_FORMULA, "");
}

/** Stars of sums and powers: 2*3, 2**10, 2 * 3. */
const TIMES = /(?<=[0-9)\]])\*{1,2}(?=[0-9(])|(?<=[ \t])\*{1,2}(?=[ \t])/gu;
/** A mark within a word or between two factors does not open emphasis: a*b, n**k. */
const WITHIN_WORDS = /[a-z0-9)\]]$/iu;

/**
 * The text with an open mark closed, where a half of what closes it may be there.
 *
 * @param {string} text
 * @param {string} mark
 */
function closed(text, mark) {
  let alone = text.replace(TIMES, (stars) => "\u0000".repeat(stars.length));
  if (mark === "*") alone = alone.replaceAll("**", "\u0000\u0000").replace(/^[ \t]*\*(?=[ \t])/gmu, " ");
  const places = alone.split(mark);
  if (places.length & 1) return text;
  const inside = places[places.length - 1];
  if (WITHIN_WORDS.test(places[places.length - 2]) && /^[a-z0-9(]/iu.test(inside)) return text;
  if (inside === "" || /^\s/u.test(inside)) return text;
  const half = mark[0];
  const isHalf = mark.length === 2 && inside.endsWith(half) && inside.split(half).length % 2 === 0;
  return (isHalf ? text.slice(0, -1) : text.trimEnd()) + mark;
}

/** What `_` or `__` opens before a word; within words it is a part of their names. */
const OPEN_UNDERSCORES = /(?:^|[\s(（「“‘*~])(__?)(?=[^\s_])(?:[^_]|(?<=[a-z0-9])_(?=[a-z0-9]))*_?$/iu;

/** @param {string} text */
function closedUnderscores(text) {
  const opened = OPEN_UNDERSCORES.exec(text);
  return opened ? text.replace(/_?\s*$/u, "") + opened[1] : text;
}
