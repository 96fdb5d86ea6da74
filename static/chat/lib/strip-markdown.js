/**
 * A model's Markdown as plain words, for lists that show part of a text. The mirror of chat/strip_markdown.py.
 */

/** Lines that are marks only, and marks at the beginning of lines. */
const BLOCKS = [
  /^[ \t]*(?:[-*_][ \t]*){3,}$/gmu,
  /^[ \t]*(?:\|[ \t]*)?:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*(?:\|[ \t]*)?$/gmu,
  /^[ \t]*\[(?!\^)[^[\]\n]+\]:[ \t][^\n]*$/gmu,
  /^(?:[ \t]*>)*[ \t]*(?:#{1,6}[ \t]+|[-*+][ \t]+(?:\[[ xX]\][ \t]+)?|\[![A-Za-z]+\])?/gmu,
];
const ROW = /^[ \t]*\|([^\n]*)\|[ \t]*$/gmu;
const FENCED = /^[ \t]*(`{3,}|~{3,})[^\n`]*$(.*?)(?:^[ \t]*\1[`~]*[ \t]*$|(?![\s\S]))/gmsu;

const TARGET = String.raw`\([^()\n]*(?:\([^()\n]*\)[^()\n]*)?\)`;
const INLINE = new RegExp(
  [
    // Code is kept as it is.
    "(?<!`)(?<ticks>`+)(?<code>[^`]+)\\k<ticks>(?!`)",
    String.raw`\\(?<escaped>[!-\/:-@\[-\x60{-~])`,
    "&(?<entity>amp|lt|gt|quot|nbsp);",
    String.raw`<(?<address>(?:https?:|mailto:)[^<> \t\n]*)>`,
    String.raw`<\/?(?<tag>[A-Za-z]{1,10})[ \t]*\/?>`,
    String.raw`\[\^[^\[\]\n]*\]:?`,
    String.raw`\[?!\[(?<picture>[^\[\]\n]*)\]${TARGET}(?:\]${TARGET})?`,
    String.raw`\[(?<link>[^\[\]\n]*)\](?:${TARGET}|\[[^\[\]\n]*\])`,
    String.raw`\]${TARGET}`,
    String.raw`(?<!\*)(?<stars>\*{2,3})(?=[^ \t\n*])(?<strong>[^*\n]+)(?<=[^ \t])\k<stars>(?!\*)`,
    String.raw`~~(?=[^ \t\n~])(?<struck>[^~\n]+)~~`,
    String.raw`(?<![A-Za-z0-9_])(?<lines>_{1,3})(?=[^ \t\n_])(?<stressed>[^_\n]+)(?<=[^ \t])\k<lines>(?![A-Za-z0-9_])`,
    // A mark without its counterpart; a star between two numbers or names is none.
    "`+",
    String.raw`(?<![A-Za-z0-9)\]*])\*{1,3}(?=[^ \t\n*])`,
    String.raw`(?<=[^ \t\n*])\*{1,3}(?![A-Za-z0-9(\[*])`,
  ].join("|"),
  "gu",
);
/** @type {Record<string, string>} */
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', nbsp: " " };
const TAGS = ["br", "sub", "sup", "kbd", "del", "ins", "mark", "details", "summary"];

/**
 * The words of a Markdown text, line by line as they stand.
 *
 * @param {string} text
 */
export function stripMarkdown(text) {
  const pieces = [];
  let end = 0;
  for (const fenced of text.matchAll(FENCED)) {
    pieces.push(stripBlocks(text.slice(end, fenced.index)), fenced[2]);
    end = fenced.index + fenced[0].length;
  }
  return pieces.join("") + stripBlocks(text.slice(end));
}

/** @param {string} text */
function stripBlocks(text) {
  const bare = BLOCKS.reduce((left, pattern) => left.replace(pattern, ""), text);
  /** @param {string} words */
  const cell = (words) => words.replace(/^[ \t]+/u, "").replace(/(?<![ \t])[ \t]+$/u, "");
  return stripInline(bare.replace(ROW, (_row, cells) => cells.split("|").map(cell).join(" · ")));
}

/**
 * @param {string} text
 * @returns {string}
 */
function stripInline(text) {
  return text.replace(INLINE, (mark, ...given) => wordsOf(mark, given.at(-1)));
}

/**
 * @param {string} mark
 * @param {Record<string, string|undefined>} found
 * @returns {string}
 */
function wordsOf(mark, found) {
  if (found.tag !== undefined) {
    const tag = found.tag.toLowerCase();
    return tag === "br" ? " " : TAGS.includes(tag) ? "" : mark;
  }
  if (found.entity) return ENTITIES[found.entity];
  const verbatim = found.code ?? found.escaped ?? found.address;
  if (verbatim !== undefined) return verbatim;
  // It contains no mark of its own kind, so this ends soon.
  return stripInline(found.picture || found.link || found.strong || found.struck || found.stressed || "");
}
