/**
 * What a paste brings.
 */

/**
 * The files that are meant. Office programs put a picture of the copied text beside it: then the text is meant. A file's own name, which
 * some systems put there, is no such text.
 *
 * @param {Pick<DataTransfer, "types"|"files"|"getData">|null} data
 * @returns {File[]}
 */
export function pastedFiles(data) {
  if (data === null) return [];
  const isDressed = data.types.includes("text/html") || data.types.includes("text/rtf");
  return isDressed && data.getData("text/plain").trim() !== "" ? [] : [...data.files];
}
