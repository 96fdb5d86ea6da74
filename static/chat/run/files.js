/**
 * The files of a message or of a tool's result, as a list of links; pictures are shown small.
 */

import { clone, setShown, setText, slot } from "../lib/dom.js";
import { fileSize } from "../state/humanize.js";
import { pathTo } from "../transport/addresses.js";

/** @import { FileData } from "../state/types.js" */

/** Media types that the server sends for display. */
export const PICTURES = Object.freeze(["image/png", "image/jpeg", "image/gif", "image/webp"]);

/**
 * Show files in an element's list.
 *
 * @param {HTMLElement} element
 * @param {FileData[]} files
 */
export function fillFiles(element, files) {
  const list = slot(element, "files");
  list.replaceChildren(...files.map(fileItem));
  setShown(list, files.length > 0);
}

/** @param {FileData} file */
function fileItem({ id, name, media_type, size }) {
  const item = clone("file");
  const address = pathTo(`api/files/${id}/`);
  /** @type {HTMLAnchorElement} */
  const link = slot(item, "link");
  link.href = address;
  setText(slot(item, "name"), name);
  setText(slot(item, "size"), fileSize(size));
  if (PICTURES.includes(media_type)) {
    /** @type {HTMLImageElement} */
    const picture = slot(item, "picture");
    picture.src = address;
    setShown(picture, true);
  }
  return item;
}
