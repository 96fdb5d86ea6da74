/**
 * Finds, clones and fills the page's markup. Scripts contain no markup: it is written once, in the templates.
 */

/** @import { Bar } from "../state/types.js" */

/**
 * An element that the page always has.
 *
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @returns {E}
 */
export function byId(id) {
  return /** @type {E} */ (document.getElementById(id));
}

/**
 * A copy of the content of the page's `<template id="t-…">`.
 *
 * @param {string} name
 * @returns {HTMLElement}
 */
export function clone(name) {
  const template = /** @type {HTMLTemplateElement} */ (byId(`t-${name}`));
  return /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
}

/**
 * The part of an element with this name in its markup. Markup and scripts belong together, so it is there; where it may be missing, `E`
 * says so.
 *
 * @template {Element|null} [E=HTMLElement]
 * @param {ParentNode} root
 * @param {string} name
 * @returns {E}
 */
export function slot(root, name) {
  return find(root, `[data-slot="${name}"]`);
}

/**
 * The first descendant that matches a selector, if there is one.
 *
 * @template {Element|null} [E=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @returns {E}
 */
export function find(root, selector) {
  return /** @type {E} */ (root.querySelector(selector));
}

/**
 * All descendants that match a selector.
 *
 * @template {Element} [E=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @returns {E[]}
 */
export function findAll(root, selector) {
  return /** @type {E[]} */ ([...root.querySelectorAll(selector)]);
}

/**
 * The nearest ancestor that matches a selector, or the element itself.
 *
 * @template {Element|null} [E=HTMLElement]
 * @param {Element} element
 * @param {string} selector
 * @returns {E}
 */
export function closest(element, selector) {
  return /** @type {E} */ (element.closest(selector));
}

/**
 * The nearest element around an event's target that matches a selector, or null.
 *
 * @template {HTMLElement} [E=HTMLElement]
 * @param {Event} event
 * @param {string} selector
 * @returns {E|null}
 */
export function closestTo(event, selector) {
  return event.target instanceof Element ? event.target.closest(selector) : null;
}

/**
 * Characters that reverse the text after them invisibly, so that "gpj.exe" reads "exe.jpg". Marks that only give a letter its direction
 * stay.
 */
const TURNING = /[\u202a-\u202e\u2066-\u2069]/gu;

/**
 * The text with such characters replaced by their numbers. The server does the same in its pages.
 *
 * @param {string} text
 */
export function visible(text) {
  return text.replace(TURNING, (char) => `[U+${char.charCodeAt(0).toString(16).toUpperCase()}]`);
}

/**
 * Set an element's text; writes only changes, so that selections and screen readers are not disturbed.
 *
 * @param {Element|null} element
 * @param {string} text
 */
export function setText(element, text) {
  const shown = visible(text);
  if (element !== null && element.textContent !== shown) element.textContent = shown;
}

/**
 * Show or hide an element, also in drawings.
 *
 * @param {Element|null} element
 * @param {boolean} isShown
 */
export function setShown(element, isShown) {
  if (element !== null && element.hasAttribute("hidden") === isShown) element.toggleAttribute("hidden", !isShown);
}

/**
 * Let an icon show another symbol of the sprite.
 *
 * @param {Element|null} svg
 * @param {string} name
 */
export function setIcon(svg, name) {
  const use = svg?.querySelector("use");
  const href = `${document.documentElement.dataset.icons}#i-${name}`;
  if (use && use.getAttribute("href") !== href) use.setAttribute("href", href);
}

/**
 * Set or remove a data attribute.
 *
 * @param {HTMLElement} element
 * @param {string} name
 * @param {string|null|undefined} value
 */
export function setData(element, name, value) {
  if (value) {
    if (element.dataset[name] !== value) element.dataset[name] = value;
  } else if (name in element.dataset) {
    delete element.dataset[name];
  }
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * A rectangle with these attributes, for a drawing of the page.
 *
 * @param {Record<string, string|number>} attributes
 */
export function makeRect(attributes) {
  const element = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/**
 * A bar in a strip.
 *
 * @param {Bar} bar
 */
export function makeBar(bar) {
  const element = makeRect({ height: 4 });
  setBar(element, bar);
  return element;
}

/**
 * Set a bar's position by attributes, because styles are not allowed.
 *
 * @param {Element|null} element
 * @param {Bar|null} bar
 */
export function setBar(element, bar) {
  if (element === null) return;
  setAttribute(element, "class", `b-${bar?.fill ?? "none"}`);
  setAttribute(element, "x", String(bar?.x ?? 0));
  setAttribute(element, "width", String(bar?.width ?? 0));
}

/**
 * @param {Element} element
 * @param {string} name
 * @param {string} value
 */
function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * An element with text and a class.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [text]
 * @param {string} [className]
 */
export function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  if (text) element.textContent = visible(text);
  if (className) element.className = className;
  return element;
}
