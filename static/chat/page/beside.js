/**
 * Verdicts, comments and activity for the conversation's page.
 */

import { byId } from "../lib/dom.js";
import { Comments } from "../view/comments.js";
import { Verdicts } from "../view/verdicts.js";
import { createActivity } from "./activity.js";
import { onKey } from "./keys.js";

/** @import { Api } from "../transport/api.js" */
/** @import { Page } from "../state/types.js" */

/**
 * @param {object} from
 * @param {Page} from.page
 * @param {Api} from.api
 * @param {(type: string, payload: object) => boolean} from.send
 * @param {(title: string) => void} from.onRefused
 * @param {() => void} from.onPassed what was refused last is outdated: it is stored now, or given up
 * @param {(reading: Map<string, number>) => void} from.onReading where others read
 */
export function createBeside({ page, api, send, onRefused, onPassed, onReading }) {
  const { role, id: session } = page.session;
  const common = { log: byId("log"), api, me: page.name, mayNote: page.may.note, onRefused, onPassed };
  const comments = new Comments({ ...common, session, isOwner: role === "owner" });
  const verdicts = new Verdicts(common);
  /** The version of verdicts and comments that the page has. */
  let version = 0;
  /** @template {{version: number}} T @param {(data: T) => void} handle @returns {(data: T) => void} */
  const once = (handle) => (data) => {
    if (data.version <= version) return;
    ({ version } = data);
    handle(data);
  };
  const isHere = role === "owner" || role === "driver";
  const activity = createActivity({
    me: page.name,
    send: (payload) => send("activity", payload),
    drives: isHere,
    showsReading: isHere || (role === "watcher" && page.shows_reading),
    scroll: byId("scroll"),
    box: /** @type {HTMLTextAreaElement|null} */ (document.getElementById("message")),
    onReading,
  });
  onKey("m", () => comments.openHere());

  return {
    /** Steps have arrived, or will be painted. */
    stepsChanged: () => comments.paintSoon(),
    tick: activity.tick,
    /** The handler of each such frame. @type {Record<string, (data: any) => void>} */
    receivers: {
      comment: once((data) => comments.update(data)),
      verdict: once((data) => verdicts.update(data)),
      activity: activity.receive,
    },
    /** @param {{notes?: import("../protocol.js").NotesData}} data */
    joined({ notes }) {
      if (!notes) return;
      comments.joined(notes, notes.version !== version);
      verdicts.joined(notes);
      ({ version } = notes);
    },
  };
}
