/**
 * The end of a growing Markdown text, prepared so that no mark is visible before its meaning is known: open marks are closed, and marks
 * without a meaning yet are held back. Reads only the last paragraph.
 */

/** Longer paragraphs are shown unchanged. */
const LONGEST = 4_000;

const ROW = /^[ \t]*\|/u;
const BELOW_HEAD = /^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*\n/u;
/** A mark at the very end: whether it opens or closes depends on what follows. */
const LAST_MARK = /(?:^|(?<=[\s(（「“‘]))(?:\*{1,3}|_{1,3}|~{1,2}|`{1,3}|!?\[|\$|\\[([]?|<\/?[a-z]{0,8})$/iu;
const OPEN_FORMULA = /\$\$(?:(?!\$\$)[^])*$|\\\[(?:(?!\\\])[^])*$|\\\((?:(?!\\\))[^])*$|\\begin\{[^]*$/u;
const LINK_ADDRESS = /!?\[([^\]\n]*)\]\([^)\n]*$/u;
const LINK_TEXT = /!?\[(?!\^)([^\]\n]*)$/u;
const NOTE = /\[\^[^\]\n]*$/u;

/**
 * The text as it may be shown.
 *
 * @param {string} text
 */
export function complete(text) {
  const from = text.lastIndexOf("\n\n") + 1;
  if (text.length - from > LONGEST || isInFence(text)) return text;
  const before = text.slice(0, from);
  const last = text.slice(from);
  return before + (isHeadOfTable(last) ? "" : close(last));
}

/** @param {string} text */
function isInFence(text) {
  return ((text.match(/^ {0,3}(?:```|~~~)/gmu) ?? []).length & 1) === 1;
}

/**
 * Whether the text is only a table's first row: before the line below it, it may be anything.
 *
 * @param {string} paragraph
 */
function isHeadOfTable(paragraph) {
  const words = paragraph.replace(/^\n/u, "");
  if (!ROW.test(words)) return false;
  const end = words.indexOf("\n");
  return end < 0 || !BELOW_HEAD.test(`${words.slice(end + 1)}`);
}

/** @param {string} paragraph */
function close(paragraph) {
  const codes = paragraph.split("`").length - 1;
  if (codes & 1 && !paragraph.endsWith("`")) return `${paragraph}\``;
  let shown = withoutOpenFormula(paragraph).replace(NOTE, "").replace(LAST_MARK, "");
  shown = shown.replace(LINK_ADDRESS, "$1").replace(LINK_TEXT, (link, words) => (/^[ xX]?$/u.test(words) ? link : words));
  for (const mark of ["**", "~~", "*"]) shown = closed(shown, mark);
  return shown;
}

/** @param {string} paragraph */
function withoutOpenFormula(paragraph) {
  const marks = paragraph.split("$$").length - 1;
  if (marks & 1) return paragraph.slice(0, paragraph.lastIndexOf("$$"));
  const opened = OPEN_FORMULA.exec(paragraph);
  return opened && !opened[0].startsWith("$$") && !/\\end\{[a-z*]+\}/u.test(opened[0]) ? paragraph.slice(0, opened.index) : paragraph;
}

/** Stars of sums and powers: 2*3, 2**10, 2 * 3. */
const TIMES = /(?<=[0-9)\]])\*{1,2}(?=[0-9(])|(?<=[ \t])\*{1,2}(?=[ \t])/gu;
/** A mark within a word or between two factors does not open emphasis: a*b, n**k. */
const WITHIN_WORDS = /[a-z0-9)\]]$/iu;

/**
 * The text with an open mark closed.
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
  return inside === "" || /^\s/u.test(inside) ? text : text.trimEnd() + mark;
}
