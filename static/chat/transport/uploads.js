/**
 * Uploads files. Not by `fetch`, which does not report progress.
 */

import { errorText } from "../lib/gettext.js";
import { SENTENCES } from "../state/messages.js";
import { pathTo } from "./addresses.js";
import { csrfToken } from "./api.js";

/** @import { FileData } from "../state/types.js" */

/**
 * Upload one file. The promise is rejected with an `Error` whose message is for people, and empty if there was no answer.
 *
 * @param {File} file
 * @param {object} on
 * @param {string|number} on.user the user that the page was rendered for
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
