/**
 * The content of a paste.
 */

/**
 * The pasted files. Office programs add a picture of copied text: then the text is meant. Some systems add a file's name as text, which
 * does not count.
 *
 * @param {Pick<DataTransfer, "types"|"files"|"getData">|null} data
 * @returns {File[]}
 */
export function pastedFiles(data) {
  if (data === null) return [];
  const isDressed = data.types.includes("text/html") || data.types.includes("text/rtf");
  return isDressed && data.getData("text/plain").trim() !== "" ? [] : [...data.files];
}
