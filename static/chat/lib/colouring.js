/**
 * Colours code, with classes only, in a worker that is terminated if a block takes long, so that the tab is never blocked.
 */

import { bring } from "./markdown.js";
import { visible } from "./dom.js";

/** Longer code is not coloured. */
const LONGEST = 50_000;
/** The time limits for one block, and for the worker's start, in milliseconds. */
const BLOCK = 500;
const START = 10_000;

/** @type {Promise<Worker|null>|null} */
let worker = null;
/** @type {any} */
let library = null;
/** Blocks are coloured one after the other, so that each has its whole time. @type {Promise<unknown>} */
let queue = Promise.resolve();

/**
 * Colour blocks of code that name their language; those that take too long stay as they are.
 *
 * @param {HTMLElement[]} elements
 */
export function highlight(elements) {
  for (const code of elements) {
    if (code.dataset.done || !code.dataset.language || (code.textContent ?? "").length > LONGEST) continue;
    code.dataset.done = "true";
    queue = queue.then(() => colour(code)).catch(() => {});
  }
  return queue;
}

/** @param {HTMLElement} code */
async function colour(code) {
  const text = code.textContent ?? "";
  const { language } = code.dataset;
  const html = await ask({ text, language });
  // The element may show something else by now.
  if (html === null || code.textContent !== text) return;
  library ??= (await bring("dompurify")).default;
  code.innerHTML = library.sanitize(visible(html), {
    ALLOWED_TAGS: ["span"],
    ALLOWED_ATTR: ["class"],
    RETURN_TRUSTED_TYPE: true,
  });
}

/** @param {object} question */
async function ask(question) {
  worker ??= start();
  const asked = await worker;
  if (asked === null) return null;
  return answer(asked, question, BLOCK);
}

/**
 * The worker's answer; null if it is not there in time, which terminates the worker.
 *
 * @param {Worker} asked
 * @param {object} question
 * @param {number} patience
 * @returns {Promise<any>}
 */
function answer(asked, question, patience) {
  return new Promise((resolve) => {
    /** @param {any} reply */
    const end = (reply) => {
      clearTimeout(timer);
      asked.onmessage = null;
      asked.onerror = null;
      resolve(reply);
    };
    const timer = setTimeout(() => {
      asked.terminate();
      worker = null;
      end(null);
    }, patience);
    asked.onmessage = ({ data }) => end(data);
    asked.onerror = (event) => {
      event.preventDefault();
      asked.terminate();
      end(null);
    };
    asked.postMessage(question);
  });
}

/**
 * A worker that has loaded the library; null if that fails.
 *
 * @returns {Promise<Worker|null>}
 */
async function start() {
  try {
    const address = document.documentElement.dataset.colouring ?? "";
    const made = new Worker(trusted(address), { type: "module" });
    return (await answer(made, { library: import.meta.resolve("highlight.js") }, START)) === null ? null : made;
  } catch {
    return null;
  }
}

/**
 * The page's policy requires trusted script addresses: this one is the page's own.
 *
 * @param {string} address
 * @returns {string}
 */
function trusted(address) {
  const { trustedTypes } = /** @type {any} */ (window);
  if (!trustedTypes) return address;
  return trustedTypes.createPolicy("colouring", { createScriptURL: () => address }).createScriptURL(address);
}
