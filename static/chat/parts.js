/**
 * Parts of pages that the server renders, as it is asked for them again.
 */

/** Fetch a part and hand over its body; nothing where it can't be had. Returns what `abort()` calls off. */
export function fetchPart(address, take) {
  const request = new XMLHttpRequest();
  request.open("GET", address);
  // The browser's own way to make a document of it: text would have to be trusted to become markup.
  request.responseType = "document";
  request.onload = () => {
    // A page of another address is one to log in.
    const isTheSame = request.responseURL === new URL(address, location.href).href;
    if (request.status === 200 && isTheSame) take(request.response.body);
  };
  request.send();
  return request;
}
