/**
 * Colours for code, by classes alone: found in a Worker, which is ended when a block takes long. The tab is never held.
 */

import { bring } from "./markdown.js";
import { visible } from "./dom.js";

/** Longer code stays plain. */
const LONGEST = 50_000;
/** Milliseconds that one block may take, and that the worker may take to start. */
const BLOCK = 500;
const START = 10_000;

let worker = null;
let library;
/** One after the other, so that each has its time to itself. */
let line = Promise.resolve();

/** Colour blocks of code that name their language; those that take too long stay as they are. */
export function highlight(elements) {
  for (const code of elements) {
    if (code.dataset.done || !code.dataset.language || code.textContent.length > LONGEST) continue;
    code.dataset.done = "true";
    line = line.then(() => colour(code)).catch(() => {});
  }
  return line;
}

async function colour(code) {
  const text = code.textContent;
  const { language } = code.dataset;
  const html = await ask({ text, language });
  // It may show something else by now.
  if (html === null || code.textContent !== text) return;
  library ??= (await bring("dompurify")).default;
  code.innerHTML = library.sanitize(visible(html), {
    ALLOWED_TAGS: ["span"],
    ALLOWED_ATTR: ["class"],
    RETURN_TRUSTED_TYPE: true,
  });
}

async function ask(question) {
  worker ??= start();
  const asked = await worker;
  if (asked === null) return null;
  return answer(asked, question, BLOCK);
}

/** What the worker says next; null, and the end of the worker, where it says nothing in time. */
function answer(asked, question, patience) {
  return new Promise((resolve) => {
    const end = (said) => {
      clearTimeout(timer);
      asked.onmessage = null;
      asked.onerror = null;
      resolve(said);
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

/** A worker that has loaded the library; null where there is none. */
async function start() {
  try {
    const address = document.documentElement.dataset.colouring;
    const made = new Worker(trusted(address), { type: "module" });
    return (await answer(made, { library: import.meta.resolve("highlight.js") }, START)) === null ? null : made;
  } catch {
    return null;
  }
}

/** The page demands that addresses of scripts are vouched for: this one is the page's own. */
function trusted(address) {
  if (!window.trustedTypes) return address;
  return window.trustedTypes.createPolicy("colouring", { createScriptURL: () => address }).createScriptURL(address);
}
