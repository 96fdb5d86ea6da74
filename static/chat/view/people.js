/**
 * Who has the session open: faces in the head, and a list with their roles, and where they read.
 */

import { byId, make, setShown } from "../lib/dom.js";
import { pgettext } from "../lib/gettext.js";
import { initials, joined, tint } from "../state/humanize.js";
import { roleName } from "../state/messages.js";
import { readsAt } from "../state/note-words.js";

/** @import { Person } from "../state/types.js" */

/** More faces than this become a number. */
const MOST = 4;
/** More people than this are not listed. */
const MOST_LISTED = 50;

/**
 * @param {Person[]} people
 * @param {Map<string, number>} [reading] the step that each reads, as far as they show it
 */
export function paintPeople(people, reading = new Map()) {
  const stack = byId("people");
  const known = people.slice(0, people.length > MOST ? MOST - 1 : MOST);
  const rest = people.length - known.length;
  stack.replaceChildren(...known.map(makeFace), ...(rest > 0 ? [make("span", `+${rest}`, "ava")] : []));
  stack.title = people.map(({ user, role }) => `${user} · ${roleName(role)}`).join(pgettext("between the parts of a list", ", "));
  setShown(stack, people.length > 0);
  byId("people-list").replaceChildren(...people.slice(0, MOST_LISTED).map((person) => makeLine(person, reading.get(person.user))));
}

/** @param {Person} person */
function makeFace({ user, role, sockets }) {
  const drives = role === "owner" || role === "driver";
  const face = make("span", initials(user), `ava ${tint(user)}${drives ? " drives" : ""}`);
  face.title = joined(user, roleName(role), sockets > 1 ? String(sockets) : "");
  return face;
}

/**
 * @param {Person} person
 * @param {number|undefined} seq
 */
function makeLine(person, seq) {
  const line = make("li");
  line.append(makeFace(person), make("span", joined(person.user, roleName(person.role))));
  if (seq) {
    const link = make("a", readsAt(seq));
    link.href = `#s${seq}`;
    line.append(link);
  }
  return line;
}
