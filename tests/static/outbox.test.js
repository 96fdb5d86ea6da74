import assert from "node:assert/strict";
import { test } from "node:test";

import { createOutbox } from "../../static/chat/transport/outbox.js";
import { memory } from "./browser.js";

let next = 0;
const makeId = () => `id-${(next += 1)}`;
const open = (storage, more = {}) => createOutbox({ storage, user: 1, session: "s", makeId, ...more });
const texts = (items) => items.map((item) => item.message);

test("messages survive a reload, in order", () => {
  const storage = memory();
  open(storage).add({ message: "one", agent_name: "writer", enable_reasoning: false });
  open(storage).add({ message: "two" });
  const again = open(storage);
  assert.deepEqual(texts(again.items()), ["one", "two"]);
  assert.equal(again.items()[0].agent_name, "writer");
  assert.equal(again.items()[0].enable_reasoning, false);
});

test("each message is sent once per connection, and again with the same id over the next", () => {
  const outbox = open(memory());
  const { client_message_id: id } = outbox.add({ message: "one" });
  assert.deepEqual(
    outbox.unsent().map((item) => item.client_message_id),
    [id],
  );
  outbox.markSent(id);
  assert.deepEqual(outbox.unsent(), []);
  outbox.forgetSent();
  assert.deepEqual(
    outbox.unsent().map((item) => item.client_message_id),
    [id],
  );
});

test("a message that the server could not store is sent again with the same id, alone", () => {
  const outbox = open(memory());
  const ids = ["one", "two"].map((message) => outbox.add({ message }).client_message_id);
  for (const id of ids) outbox.markSent(id);
  outbox.forgetSending(ids[0]);
  assert.deepEqual(
    outbox.unsent().map((item) => item.client_message_id),
    [ids[0]],
  );
});

test("an accepted message is removed", () => {
  const storage = memory();
  const outbox = open(storage);
  outbox.remove(outbox.add({ message: "one" }).client_message_id);
  assert.deepEqual(open(storage).items(), []);
  assert.equal(storage.kept.size, 0);
});

test("a refused message stays with its error and is not sent again automatically", () => {
  const storage = memory();
  const outbox = open(storage);
  const { client_message_id: id } = outbox.add({ message: "one" });
  outbox.refuse(id, { code: "queue_full", message: "Five messages wait already." });
  assert.equal(open(storage).items()[0].error.code, "queue_full");
  assert.deepEqual(open(storage).unsent(), []);
});

test("messages of other sessions and users are separate", () => {
  const storage = memory();
  open(storage).add({ message: "mine" });
  assert.deepEqual(open(storage, { session: "other" }).items(), []);
  assert.deepEqual(open(storage, { user: 2 }).items(), []);
});

test("two pages of one session share the messages", () => {
  const storage = memory();
  const [one, other] = [open(storage), open(storage)];
  const { client_message_id: id } = one.add({ message: "one" });
  assert.equal(other.has(id), true);
  other.remove(id);
  assert.deepEqual(one.items(), []);
});

for (const [name, storage] of [
  ["full", memory({ full: true })],
  ["forbidden", null],
]) {
  test(`where storage is ${name}, messages are kept as long as the page, and it says so`, () => {
    const outbox = open(storage);
    outbox.add({ message: "one" });
    assert.deepEqual(texts(outbox.items()), ["one"]);
    assert.equal(outbox.isSaved, false);
  });
}

for (const key of ["thinkaloud.outbox.1.s", "thinkaloud.outbox.1.s.x"]) {
  for (const text of ['{"not":"a list"}', '[{"no":"id"}, null, 3]', "{broken", "null", '"text"', '{"client_message_id":"y","message":"z"}']) {
    test(`other data under ${key} are no message: ${text}`, () => {
      const storage = memory();
      storage.setItem(key, text);
      assert.deepEqual(open(storage).items(), []);
    });
  }
}

test("the list of an earlier version is migrated", () => {
  const storage = memory();
  const items = ["one", "two"].map((message, at) => ({ client_message_id: message, message, agent_name: "writer", enable_reasoning: true, at }));
  storage.setItem("thinkaloud.outbox.1.s", JSON.stringify(items));
  assert.deepEqual(texts(open(storage).items()), ["one", "two"]);
  open(storage).remove("one");
  assert.deepEqual(texts(open(storage).items()), ["two"]);
});

/** What two pages of one session do at the same time; a further case is one line. */
const AT_ONCE = [
  ["both ask", (one, other) => (one.add({ message: "b" }), other.add({ message: "c" })), ["a", "b", "c"]],
  ["one asks, the other is accepted", (one, other) => (one.add({ message: "b" }), other.remove("a")), ["b"]],
  ["one is refused what the other is accepted", (one, other) => (other.remove("a"), one.refuse("a", { code: "x" })), []],
  ["one sends what the other takes back", (one, other) => (other.remove("a"), one.markSent("a")), []],
  ["both are accepted", (one, other) => (one.remove("a"), other.remove("a")), []],
];
for (const [name, act, left] of AT_ONCE) {
  test(`two pages at once: ${name}`, () => {
    const storage = memory();
    const [one, other] = [open(storage), open(storage)];
    one.add({ message: "a", client_message_id: "a" });
    // Each has read before the other writes.
    one.items();
    other.items();
    act(one, other);
    assert.deepEqual(texts(open(storage).items()), left);
  });
}

test("a message that was sent without an answer says so, also after a reload", () => {
  const storage = memory();
  const outbox = open(storage);
  const { client_message_id: id } = outbox.add({ message: "one" });
  assert.equal(outbox.items()[0].tried, undefined);
  outbox.markSent(id);
  outbox.forgetSent();
  assert.equal(open(storage).items()[0].tried, true);
});

test("when the storage is full the rest is kept in the page, and it says so", () => {
  const storage = memory();
  const outbox = open(storage);
  outbox.add({ message: "kept" });
  storage.full = true;
  const { client_message_id: id } = outbox.add({ message: "lost on reload" });
  assert.equal(outbox.isSaved, false);
  assert.deepEqual(texts(outbox.items()), ["kept", "lost on reload"]);
  outbox.remove(id);
  assert.equal(outbox.isSaved, true);
});
