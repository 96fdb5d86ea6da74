/**
 * Pages that the server renders, and parts of them, as they are asked for again.
 *
 * The browser makes documents of them, in which nothing runs or loads: text would have to be trusted to become markup.
 */

/**
 * Fetch a part of a page.
 *
 * @param {string} address
 * @param {(body: HTMLElement|null) => void} take given the part's body, or null where it can't be had
 * @returns {XMLHttpRequest} whose `abort()` calls it off
 */
export function fetchPart(address, take) {
  const request = openRequest(address);
  request.onloadend = () => {
    // A page of another address is one to log in.
    const isTheSame = request.responseURL === new URL(address, location.href).href;
    take(request.status === 200 && isTheSame ? request.response.body : null);
  };
  request.send();
  return request;
}

/**
 * Fetch a page of ours.
 *
 * @param {string} address
 * @returns {Promise<Document|null>} null where it can't be had
 */
export function fetchPage(address) {
  return new Promise((resolve) => {
    const request = openRequest(address);
    request.onloadend = () => resolve(request.status === 200 ? request.response : null);
    request.send();
  });
}

/**
 * Send what a form says, and take the part of a page that answers it, whether that is content or refused.
 *
 * @param {string} address
 * @param {FormData} data
 * @returns {Promise<HTMLElement|null>} null where there is no such answer
 */
export function postForm(address, data) {
  return new Promise((resolve) => {
    const request = openRequest(address, "POST");
    request.onloadend = () => {
      const isPart = request.response?.querySelector("[data-part-of]") ?? null;
      resolve(isPart ? request.response.body : null);
    };
    request.send(data);
  });
}

/** Milliseconds after which an answer counts as one that can't be had: whoever asks again by the clock waits for the one before. */
const PATIENCE = 30_000;

/** @param {string} address @param {string} [method] */
function openRequest(address, method = "GET") {
  const request = new XMLHttpRequest();
  request.open(method, address);
  request.timeout = PATIENCE;
  request.responseType = "document";
  return request;
}

/**
 * Put what the server has rendered in place of what an element holds.
 *
 * @param {Element} element
 * @param {Element} fresh from another document
 */
export function replaceContent(element, fresh) {
  element.replaceChildren(...[...fresh.childNodes].map((node) => document.adoptNode(node)));
}
