/**
 * Parts of pages that the server renders, as it is asked for them again.
 */

/** Fetch a part and hand over its body, or null where it can't be had. Returns what `abort()` calls off. */
export function fetchPart(address, take) {
  const request = new XMLHttpRequest();
  request.open("GET", address);
  // The browser's own way to make a document of it: text would have to be trusted to become markup.
  request.responseType = "document";
  request.onloadend = () => {
    // A page of another address is one to log in.
    const isTheSame = request.responseURL === new URL(address, location.href).href;
    take(request.status === 200 && isTheSame ? request.response.body : null);
  };
  request.send();
  return request;
}
