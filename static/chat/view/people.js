/**
 * Who has the session open, as faces in the head.
 */

import { byId, make, setShown } from "../lib/dom.js";
import { pgettext } from "../lib/gettext.js";
import { initials, joined, tint } from "../state/humanize.js";
import { roleName } from "../state/messages.js";

/** @import { Person } from "../state/types.js" */

/** More faces than these become a number. */
const MOST = 4;

/**
 * @param {Person[]} people
 */
export function paintPeople(people) {
  const stack = byId("people");
  const known = people.slice(0, people.length > MOST ? MOST - 1 : MOST);
  const rest = people.length - known.length;
  stack.replaceChildren(...known.map(makeFace), ...(rest > 0 ? [make("span", `+${rest}`, "ava")] : []));
  stack.title = people.map(({ user, role }) => `${user} · ${roleName(role)}`).join(pgettext("between the parts of a list", ", "));
  setShown(stack, people.length > 0);
}

/** @param {Person} person */
function makeFace({ user, role, sockets }) {
  const drives = role === "owner" || role === "driver";
  const face = make("span", initials(user), `ava ${tint(user)}${drives ? " drives" : ""}`);
  face.title = joined(user, roleName(role), sockets > 1 ? String(sockets) : "");
  return face;
}
