/**
 * The draft of the step that is being written, put together from deltas.
 */

/** @import { Growth } from "./types.js" */

/**
 * Add a delta. Offsets count UTF-16 code units, as `length` does. Offset 0 starts the step's text again; deltas of a lower attempt or an
 * older step, and those beyond the end of the text, are ignored.
 *
 * @param {Growth|null} growth
 * @param {import("../protocol.js").DeltaData} data
 * @returns {Growth|null}
 */
export function addDelta(growth, data) {
  const same = growth !== null && growth.step === data.step && growth.attempt === data.attempt;
  const older =
    growth !== null &&
    (data.step < growth.step || (data.step === growth.step && data.attempt < growth.attempt));
  if (older) return growth;
  if (data.offset === 0) return written(data, data.text);
  if (!same || data.offset > growth.text.length) return growth;
  const end = data.offset + data.text.length;
  if (end <= growth.text.length && growth.text.slice(data.offset, end) === data.text) return growth;
  return written(data, growth.text.slice(0, data.offset) + data.text + growth.text.slice(end));
}

/**
 * @param {import("../protocol.js").DeltaData} data
 * @param {string} text
 * @returns {Growth}
 */
function written(data, text) {
  return { step: data.step, type: data.type, attempt: data.attempt, text, tool_name: data.tool_name ?? "" };
}
