/**
 * Fetches pages of the server, and parts of them.
 *
 * The browser parses them as documents, in which nothing runs or loads: parsing text as markup would need a trusted type.
 */

/**
 * Fetch a part of a page.
 *
 * @param {string} address
 * @param {(body: HTMLElement|null) => void} onPart called with the part's body, or null if it cannot be fetched
 * @returns {XMLHttpRequest} its `abort()` cancels the request
 */
export function fetchPart(address, onPart) {
  const request = openRequest(address);
  request.onloadend = () => {
    // A redirect leads to the login page.
    const isTheSame = request.responseURL === new URL(address, location.href).href;
    onPart(request.status === 200 && isTheSame ? request.response.body : null);
  };
  request.send();
  return request;
}

/**
 * Fetch a page of ours.
 *
 * @param {string} address
 * @returns {Promise<Document|null>} null if it cannot be fetched
 */
export function fetchPage(address) {
  return new Promise((resolve) => {
    const request = openRequest(address);
    request.onloadend = () => resolve(request.status === 200 ? request.response : null);
    request.send();
  });
}

/**
 * Submit a form, and return the part of the page in the answer, whether it was accepted or refused.
 *
 * @param {string} address
 * @param {FormData} data
 * @returns {Promise<HTMLElement|null>} null if there is no such answer
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

/** Milliseconds after which a request counts as failed: periodic requests wait for the one before. */
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
 * Replace an element's content with what the server has rendered.
 *
 * @param {Element} element
 * @param {Element} fresh from another document
 */
export function replaceContent(element, fresh) {
  element.replaceChildren(...[...fresh.childNodes].map((node) => document.adoptNode(node)));
}
