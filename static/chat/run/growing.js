/**
 * Text that grows, put into the document so that what does not change stays the very same node: selections, focus and scroll places in
 * it live on, and the cost of an update follows what is new in it.
 */

import { visible } from "../lib/dom.js";
import { complete } from "./unfinished.js";

/** Have a text node say something else: what both say stays, and what is new is put behind it. */
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

/** Write a growing text into an element as it is. */
export function growPlain(element, text) {
  const [node] = element.childNodes;
  const shown = visible(text);
  if (element.childNodes.length === 1 && node.nodeType === Node.TEXT_NODE) growText(node, shown);
  else element.replaceChildren(shown);
}

/** Blocks that are patched child by child. */
const CONTAINERS = ["bullet_list", "ordered_list", "list_item", "blockquote", "table", "thead", "tbody"];
const BLOCKS = "blockquote, details, div, dl, h1, h2, h3, h4, h5, h6, hr, li, ol, p, pre, section, table, tbody, thead, tr, ul";

/**
 * Writes one growing Markdown text into an element. Blocks that are finished are never touched again: each call parses from the last
 * unfinished one on, and of that only the parts are rendered that read otherwise than before.
 *
 * @param {object} renderer what `load` of markdown.js gives: `parse` to tokens, `toTemplate` to safe nodes
 */
export function createWriter(element, renderer) {
  let done = 0;
  let settled = [];
  let tail = [];
  let shown = "";
  let env = {};

  /** Show the text as it is now, and as far as it can be read. Returns the nodes that will not change any more. */
  function write(text, isWhole = false) {
    if (!text.startsWith(shown.slice(0, done))) reset();
    shown = text;
    const rest = text.slice(done);
    // Their numbers begin anew with each text that is read.
    delete env.footnotes;
    const tokens = renderer.parse(isWhole ? rest : complete(rest), env);
    const blocks = split(tokens);
    patch(element, tail, blocks, []);
    const last = blocks.findLastIndex(([open]) => open.map);
    if (last > 0) {
      settled.push(...tail.splice(0, last).flatMap((part) => part.nodes));
      done += lineOffset(rest, blocks[last][0].map[0]);
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

  /** The whole text at its end. Where it defines links or notes, an earlier block may read differently now: all is rendered once more. */
  function finish(text) {
    if (Object.keys(env.references ?? {}).length || text.includes("[^")) reset();
    write(text, true);
    return [...settled, ...tail.flatMap((part) => part.nodes)];
  }

  /**
   * Make what stands in `parent` say what the blocks say.
   *
   * @param {object[]} parts what was put there, block by block: `{sign, type, nodes, parts}`; changed in place
   * @param {object[][]} blocks the tokens of each block
   * @param {object[]} around the tokens that open what the blocks lie in, outermost first
   */
  function patch(parent, parts, blocks, around) {
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

  /** Where only a part of a block can have changed, change that. Returns whether it could be done. */
  function grewInside(part, block, around) {
    const [open] = block;
    if (part.type !== open.type || part.nodes.length !== 1 || part.opened !== opening(open)) return false;
    const [node] = part.nodes;
    if (open.type === "fence" || open.type === "code_block") {
      const code = node.querySelector("code");
      if (!code || code.dataset.done) return false;
      growPlain(code, open.content);
      return true;
    }
    if (part.parts === null) return false;
    const inner = split(block.slice(1, -1));
    // A list whose items move apart is another list.
    if (inner.some((one, index) => part.parts[index] && part.parts[index].opened !== opening(one[0]))) return false;
    patch(innermost(node, open), part.parts, inner, [...around, open]);
    return true;
  }

  /** The nodes of a block, rendered within what it lies in: an item without its list, a row without its table is nothing. */
  function build(block, around) {
    const closes = around.map(closing).reverse();
    let root = renderer.toTemplate([...around, ...block, ...closes], env);
    for (const open of around) root = innermost(elementsOf(root)[0], open);
    return nodesOf(root, block[0]);
  }

  function describe(sign, block, nodes) {
    const [open] = block;
    const part = { sign, type: open.type, opened: opening(open), nodes, parts: null };
    if (nodes.length !== 1 || !CONTAINERS.some((name) => open.type === `${name}_open`)) return part;
    const inner = split(block.slice(1, -1));
    const places = assign(inner, nodesOf(innermost(nodes[0], open), null));
    if (places !== null) part.parts = inner.map((one, index) => describe(one.map(signature).join("\u0001"), one, places[index]));
    return part;
  }

  return { write, finish };
}

/** The element that holds what a token opens: a table lies in a box of its own. */
function innermost(node, open) {
  return open.type === "table_open" ? node.querySelector("table") : node;
}

function closing(open) {
  return Object.assign(Object.create(Object.getPrototypeOf(open)), open, { type: open.type.replace(/_open$/u, "_close"), nesting: -1, attrs: null });
}

function elementsOf(root) {
  return [...root.childNodes].filter((node) => node.nodeType === Node.ELEMENT_NODE);
}

/** The nodes that count: between blocks, space is none. */
function nodesOf(root, open) {
  const isWords = open?.type === "paragraph_open" && open.hidden;
  const isEdge = (node) => node === null || (node.nodeType === Node.ELEMENT_NODE && node.matches(BLOCKS));
  for (const node of isWords ? [] : [...root.childNodes]) {
    const isSpace = node.nodeType === Node.TEXT_NODE && node.data.trim() === "";
    if (isSpace && (isEdge(node.previousSibling) || isEdge(node.nextSibling))) node.remove();
  }
  return [...root.childNodes];
}

/** Which nodes belong to which block: each has one, but for the words of a close list's item, which stand there by themselves. */
function assign(blocks, nodes) {
  const places = [];
  let next = 0;
  for (const [open] of blocks) {
    const begin = next;
    if (open.type === "paragraph_open" && open.hidden) {
      while (next < nodes.length && !(nodes[next].nodeType === Node.ELEMENT_NODE && nodes[next].matches(BLOCKS))) next += 1;
    } else {
      next += 1;
    }
    places.push(nodes.slice(begin, next));
  }
  return next === nodes.length ? places : null;
}

/** The tokens of each block on the outermost level, those that show nothing left out. */
function split(tokens) {
  const blocks = [];
  let depth = 0;
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

/** What a token says by itself, and with what it holds. */
function opening({ type, tag, info, hidden, attrs }) {
  return [type, tag, info, hidden ? "tight" : "", attrs?.join() ?? ""].join("\u0000");
}

function signature(token) {
  return `${opening(token)}\u0000${token.content}`;
}

/** Have a node look like another of its kind, keeping it and all in it that is alike. What the page has put into it stays. */
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return false;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    growText(old, fresh.data);
    return true;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const isOurs = (node) => node.nodeType === Node.ELEMENT_NODE && node.matches("button[data-action]");
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

function lineOffset(text, line) {
  let offset = 0;
  for (let count = 0; count < line; count += 1) {
    const end = text.indexOf("\n", offset);
    if (end < 0) return text.length;
    offset = end + 1;
  }
  return offset;
}
