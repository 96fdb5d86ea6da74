/**
 * Text that grows, written into the document so that unchanged nodes stay the same: selections, focus and scroll positions in them are
 * kept, and the cost of an update depends on what is new.
 */

import { visible } from "../lib/dom.js";
import { complete } from "./unfinished.js";

/**
 * Change a text node: the common beginning stays, and the new text is appended.
 *
 * @param {Text} node
 * @param {string} text
 */
export function growText(node, text) {
  const { data } = node;
  if (text === data) return;
  if (text.startsWith(data)) {
    node.appendData(text.slice(data.length));
    return;
  }
  const most = Math.min(data.length, text.length);
  let same = 0;
  while (same < most && data[same] === text[same]) same += 1;
  node.replaceData(same, data.length - same, text.slice(same));
}

/**
 * Write a growing text into an element without formatting.
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
export function growPlain(element, text) {
  const [node] = element.childNodes;
  const shown = visible(text);
  if (element.childNodes.length === 1 && node instanceof Text) growText(node, shown);
  else element.replaceChildren(shown);
}

/** @import { Renderer, Token } from "../lib/markdown.js" */

/**
 * What was written into the document for a block. `sign` shows whether the block has changed since; `parts` are the blocks in it, if it has
 * any.
 *
 * @typedef {{sign: string, type: string, opened: string, nodes: ChildNode[], parts: Part[]|null}} Part
 */

/** Blocks that are patched child by child. */
const CONTAINERS = ["bullet_list", "ordered_list", "list_item", "blockquote", "table", "thead", "tbody"];
const BLOCKS = "blockquote, details, div, dl, h1, h2, h3, h4, h5, h6, hr, li, ol, p, pre, section, table, tbody, thead, tr, ul";

/**
 * Writes one growing Markdown text into an element. Finished blocks are never touched again: each call parses from the last unfinished
 * block on, and renders only those parts of it that have changed.
 *
 * @param {HTMLElement} element
 * @param {Renderer} renderer what `load` of markdown.js gives
 */
export function createWriter(element, renderer) {
  let done = 0;
  /** @type {ChildNode[]} */
  let settled = [];
  /** @type {Part[]} */
  let tail = [];
  let shown = "";
  /** The text's definitions, kept between two calls of `write`. @type {Record<string, any>} */
  let env = {};
  const patch = createPatch((tokens) => renderer.toTemplate(tokens, env));

  /**
   * Show the text so far. Returns the nodes that will not change any more.
   *
   * @param {string} text
   * @param {boolean} isWhole
   * @returns {ChildNode[]}
   */
  function write(text, isWhole = false) {
    if (!text.startsWith(shown.slice(0, done))) reset();
    shown = text;
    const rest = text.slice(done);
    // Their numbers start at 1 in each parse.
    delete env.footnotes;
    const tokens = renderer.parse(isWhole ? rest : complete(rest, env.references), env);
    if (!isWhole && rest.includes("[^")) hideNotes(tokens);
    const blocks = split(tokens);
    patch(element, tail, blocks, []);
    const last = blocks.findLastIndex(([open]) => open.map);
    if (last > 0) {
      settled.push(...tail.splice(0, last).flatMap((part) => part.nodes));
      done += lineOffset(rest, blocks[last][0].map?.[0] ?? 0);
    }
    return settled;
  }

  function reset() {
    element.replaceChildren();
    done = 0;
    settled = [];
    tail = [];
    shown = "";
    env = {};
  }

  /**
   * Show the whole text at its end. If it has links by name, or notes, earlier blocks may have changed: then everything is rendered again.
   *
   * @param {string} text
   * @returns {ChildNode[]}
   */
  function finish(text) {
    if (Object.keys(env.references ?? {}).length || text.includes("][") || text.includes("[^")) reset();
    write(text, true);
    return [...settled, ...tail.flatMap((part) => part.nodes)];
  }

  return { write, finish };
}

/**
 * Updates a part of the document to new Markdown, and leaves unchanged nodes alone.
 *
 * @param {(tokens: Token[]) => ParentNode} render
 */
function createPatch(render) {
  /**
   * Update `parent` to show these blocks.
   *
   * @param {ParentNode} parent
   * @param {Part[]} parts what was put there, block by block; changed in place
   * @param {Token[][]} blocks the tokens of each block
   * @param {Token[]} around the tokens that open what the blocks lie in, outermost first
   */
  function patch(parent, parts, blocks, around) {
    const isThere = (/** @type {ChildNode} */ node) => node.parentNode === parent;
    if (around.length > 0 && !parts.every((part) => part.nodes.every(isThere))) {
      // A translator of pages has replaced its text.
      parent.replaceChildren();
      parts.length = 0;
    }
    blocks.forEach((block, index) => {
      const sign = block.map(signature).join("\u0001");
      const part = parts[index];
      if (part?.sign === sign) return;
      if (part && grewInside(part, block, around)) {
        part.sign = sign;
        return;
      }
      const fresh = build(block, around);
      if (part && part.nodes.length === fresh.length && part.nodes.every((node, place) => morph(node, fresh[place]))) {
        parts[index] = describe(sign, block, part.nodes);
        return;
      }
      const before = part?.nodes[0] ?? parts[index + 1]?.nodes[0] ?? null;
      for (const node of fresh) parent.insertBefore(node, before);
      for (const node of part?.nodes ?? []) node.remove();
      parts[index] = describe(sign, block, fresh);
    });
    for (const part of parts.splice(blocks.length)) for (const node of part.nodes) node.remove();
  }

  /**
   * If only a part of a block can have changed, change that. Returns whether that was possible.
   *
   * @param {Part} part
   * @param {Token[]} block
   * @param {Token[]} around
   */
  function grewInside(part, block, around) {
    const [open] = block;
    if (part.type !== open.type || part.nodes.length !== 1 || part.opened !== opening(open)) return false;
    const [node] = /** @type {HTMLElement[]} */ (part.nodes);
    if (open.type === "fence" || open.type === "code_block") {
      const code = node.querySelector("code");
      if (!code || code.dataset.done) return false;
      growPlain(code, open.content);
      return true;
    }
    if (part.parts === null) return false;
    const inner = split(block.slice(1, -1));
    // A list becomes another list when blank lines separate its items.
    const { parts } = part;
    if (inner.some((one, index) => parts[index] && parts[index].opened !== opening(one[0]))) return false;
    patch(innermost(node, open), parts, inner, [...around, open]);
    return true;
  }

  /**
   * The nodes of a block, rendered within its parents: an item needs its list, a row its table.
   *
   * @param {Token[]} block
   * @param {Token[]} around
   * @returns {ChildNode[]}
   */
  function build(block, around) {
    const closes = around.map(closing).reverse();
    /** @type {ParentNode} */
    let root = render([...around, ...block, ...closes]);
    for (const open of around) root = innermost(elementsOf(root)[0], open);
    return nodesOf(root, block[0]);
  }

  return patch;
}

/**
 * @param {string} sign
 * @param {Token[]} block
 * @param {ChildNode[]} nodes
 * @returns {Part}
 */
function describe(sign, block, nodes) {
  const [open] = block;
  /** @type {Part} */
  const part = { sign, type: open.type, opened: opening(open), nodes, parts: null };
  if (nodes.length !== 1 || !CONTAINERS.some((name) => open.type === `${name}_open`)) return part;
  const inner = split(block.slice(1, -1));
  const places = assign(inner, nodesOf(innermost(/** @type {Element} */ (nodes[0]), open), null));
  if (places !== null) part.parts = inner.map((one, index) => describe(one.map(signature).join("\u0001"), one, places[index]));
  return part;
}

/**
 * Whether a node is a block in its line.
 *
 * @param {Node} node
 */
function isBlock(node) {
  return node instanceof Element && node.matches(BLOCKS);
}

/**
 * The element that contains what a token opens: a table is in a box of its own.
 *
 * @param {ParentNode} node
 * @param {Token} open
 * @returns {ParentNode}
 */
function innermost(node, open) {
  return open.type === "table_open" ? /** @type {Element} */ (node.querySelector("table")) : node;
}

/**
 * @param {Token} open
 * @returns {Token}
 */
function closing(open) {
  return Object.assign(Object.create(Object.getPrototypeOf(open)), open, { type: open.type.replace(/_open$/u, "_close"), nesting: -1, attrs: null });
}

/**
 * @param {ParentNode} root
 * @returns {Element[]}
 */
function elementsOf(root) {
  return [...root.children];
}

/**
 * The child nodes, without the white space between blocks.
 *
 * @param {ParentNode} root
 * @param {Token|null} open
 * @returns {ChildNode[]}
 */
function nodesOf(root, open) {
  const isWords = open?.type === "paragraph_open" && open.hidden;
  /** @param {Node|null} node */
  const isEdge = (node) => node === null || isBlock(node);
  for (const node of isWords ? [] : [...root.childNodes]) {
    const isSpace = node instanceof Text && node.data.trim() === "";
    if (isSpace && (isEdge(node.previousSibling) || isEdge(node.nextSibling))) node.remove();
  }
  return [...root.childNodes];
}

/**
 * Assign nodes to blocks: each has one, except the text of an item in a tight list, whose nodes are children of the item.
 *
 * @param {Token[][]} blocks
 * @param {ChildNode[]} nodes
 */
function assign(blocks, nodes) {
  /** @type {ChildNode[][]} */
  const places = [];
  let next = 0;
  for (const [open] of blocks) {
    const begin = next;
    if (open.type === "paragraph_open" && open.hidden) {
      while (next < nodes.length && !isBlock(nodes[next])) next += 1;
    } else {
      next += 1;
    }
    places.push(nodes.slice(begin, next));
  }
  return next === nodes.length ? places : null;
}

/**
 * The tokens of each block on the outermost level, without those that show nothing.
 *
 * @param {Token[]} tokens
 */
function split(tokens) {
  /** @type {Token[][]} */
  const blocks = [];
  let depth = 0;
  /** @type {Token[]} */
  let block = [];
  for (const token of tokens) {
    block.push(token);
    depth += token.nesting;
    if (depth > 0) continue;
    blocks.push(block);
    block = [];
  }
  if (block.length) blocks.push(block);
  return blocks;
}

/**
 * Hide the marks of notes that are not there yet: they come at the end of a text, and are given their numbers then.
 *
 * @param {Token[]} tokens
 */
function hideNotes(tokens) {
  const inline = tokens.flatMap((token) => token.children ?? []);
  for (const token of inline) if (token.type === "text") token.content = token.content.replace(/\[\^[^\]\s]+\]/gu, "");
}

/**
 * A token's own properties, without and with those of its content.
 *
 * @param {Token} token
 */
function opening({ type, tag, info, hidden, attrs }) {
  return [type, tag, info, hidden ? "tight" : "", attrs?.join() ?? ""].join("\u0000");
}

/** @param {Token} token */
function signature(token) {
  return `${opening(token)}\u0000${token.content}`;
}

/**
 * Change a node into another of its kind, keeping it and its unchanged content. Nodes that the page has added stay.
 *
 * @param {ChildNode} old
 * @param {ChildNode} fresh
 * @returns {boolean}
 */
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return false;
  if (!(old instanceof Element && fresh instanceof Element)) {
    growText(/** @type {Text} */ (old), /** @type {Text} */ (fresh).data);
    return true;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  /** @param {Node} node */
  const isOurs = (node) => node instanceof Element && node.matches("button[data-action]");
  const mine = [...old.childNodes].filter((node) => !isOurs(node));
  const ours = [...old.childNodes].find(isOurs) ?? null;
  const wanted = [...fresh.childNodes];
  wanted.forEach((node, index) => {
    if (!mine[index]) old.insertBefore(node, ours);
    else if (!morph(mine[index], node)) mine[index].replaceWith(node);
  });
  for (const node of mine.slice(wanted.length)) node.remove();
  return true;
}

/**
 * @param {string} text
 * @param {number} line
 */
function lineOffset(text, line) {
  let offset = 0;
  for (let count = 0; count < line; count += 1) {
    const end = text.indexOf("\n", offset);
    if (end < 0) return text.length;
    offset = end + 1;
  }
  return offset;
}
