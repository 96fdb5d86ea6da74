/**
 * Sends files. Not by `fetch`, which tells nobody how far it has come.
 */

import { errorText } from "../lib/gettext.js";
import { SENTENCES } from "../state/messages.js";
import { pathTo } from "./addresses.js";
import { csrfToken } from "./api.js";

/** @import { FileData } from "../state/types.js" */

/**
 * Send one file. The promise is refused with an `Error` whose message is for people; it is empty where there was no answer.
 *
 * @param {File} file
 * @param {object} on
 * @param {string|number} on.user whom the page was made for
 * @param {(share: number) => void} on.onProgress how much of it has gone out, from 0 to 1
 * @param {AbortSignal} on.signal
 * @returns {Promise<FileData>}
 */
export function sendFile(file, { user, onProgress, signal }) {
  const form = new FormData();
  form.append("file", file, file.name);
  const request = new XMLHttpRequest();
  request.open("POST", pathTo("api/files/"));
  request.responseType = "json";
  for (const [name, value] of [["X-CSRFToken", csrfToken()], ["X-Page-User", String(user)]]) {
    request.setRequestHeader(name, value);
  }
  return new Promise((resolve, reject) => {
    request.upload.addEventListener("progress", ({ loaded, total }) => total && onProgress(loaded / total));
    request.addEventListener("load", () => {
      const answer = request.response;
      if (request.status === 201 && answer?.id) resolve(answer);
      else reject(new Error(answer?.error ? errorText(answer.error) : request.status === 413 ? SENTENCES.fileNotPassed : ""));
    });
    for (const end of ["error", "abort", "timeout"]) request.addEventListener(end, () => reject(new Error("")));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}
