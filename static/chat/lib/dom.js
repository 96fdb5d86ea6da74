/**
 * The page's own markup, found, cloned and filled. No markup is written in scripts: it stands in the templates, once.
 */

/** A copy of what the page's `<template id="t-…">` holds. */
export function clone(name) {
  return document.getElementById(`t-${name}`).content.firstElementChild.cloneNode(true);
}

/** The part of an element that its markup calls by a name. */
export function slot(root, name) {
  return root.querySelector(`[data-slot="${name}"]`);
}

/** Characters that turn others round unseen, so that "gpj.exe" reads "exe.jpg". Marks that only say which way a letter reads stay. */
const TURNING = /[\u202a-\u202e\u2066-\u2069]/gu;

/** A text in which nothing turns others round unseen: such characters are shown by their numbers. The server does so for its pages. */
export function visible(text) {
  return text.replace(TURNING, (char) => `[U+${char.charCodeAt(0).toString(16).toUpperCase()}]`);
}

/** Put text into a part; writes only what changes, so that selections and screen readers are left alone. */
export function say(element, text) {
  const shown = visible(text);
  if (element !== null && element.textContent !== shown) element.textContent = shown;
}

/** Show or hide. */
export function show(element, isShown) {
  if (element !== null && element.hidden === isShown) element.hidden = !isShown;
}

/** Point an icon at another symbol of the sprite. */
export function setIcon(svg, name) {
  const use = svg?.querySelector("use");
  const href = `${document.documentElement.dataset.icons}#i-${name}`;
  if (use && use.getAttribute("href") !== href) use.setAttribute("href", href);
}

/** Set or remove a data attribute. */
export function mark(element, name, value) {
  if (value) {
    if (element.dataset[name] !== value) element.dataset[name] = value;
  } else if (name in element.dataset) {
    delete element.dataset[name];
  }
}

const SVG = "http://www.w3.org/2000/svg";

/** A bar in a strip. */
export function rect(bar) {
  const element = document.createElementNS(SVG, "rect");
  element.setAttribute("height", "4");
  setBar(element, bar);
  return element;
}

/** Where a bar lies, as attributes: no style is written. */
export function setBar(element, bar) {
  if (element === null) return;
  attribute(element, "class", `b-${bar?.fill ?? "none"}`);
  attribute(element, "x", String(bar?.x ?? 0));
  attribute(element, "width", String(bar?.width ?? 0));
}

function attribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** An element with text and a class. */
export function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  if (text) element.textContent = visible(text);
  if (className) element.className = className;
  return element;
}
