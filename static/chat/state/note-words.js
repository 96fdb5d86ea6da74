/**
 * The sentences about verdicts, comments and activity.
 */

import { gettext, ngettext, pgettext } from "../lib/gettext.js";

/** @param {number} n */
export const commentCount = (n) => ngettext("%(n)d comment", "%(n)d comments", n);

/** Who is typing. @param {string[]} users */
export function typingLine(users) {
  if (!users.length) return "";
  if (users.length > 1) return ngettext("%(n)d person is typing", "%(n)d people are typing", users.length);
  return gettext("%(name)s is typing", { name: users[0] });
}

/** Where a user reads. @param {number} seq */
export const readsAt = (seq) => gettext("reads event %(n)s", { n: seq });

export const NOTES = {
  notSaved: gettext("It could not be saved. Please try again."),
  edited: pgettext("a comment", "edited"),
  good: pgettext("verdict", "good"),
  bad: pgettext("verdict", "bad"),
  pressAgain: gettext("Press again to delete the comment"),
};
