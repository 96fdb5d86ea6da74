import assert from "node:assert/strict";
import { test } from "node:test";

import { createDraft, createOutbox } from "../../static/chat/outbox.js";

/** A browser's storage. */
function memory({ full = false } = {}) {
  const kept = new Map();
  return {
    kept,
    getItem: (key) => kept.get(key) ?? null,
    setItem(key, value) {
      if (full) throw new Error("full");
      kept.set(key, value);
    },
    removeItem: (key) => kept.delete(key),
  };
}

let next = 0;
const makeId = () => `id-${(next += 1)}`;
const open = (storage, more = {}) => createOutbox({ storage, user: 1, session: "s", makeId, ...more });
const texts = (items) => items.map((item) => item.message);

test("what is put in survives a reload, in order", () => {
  const storage = memory();
  open(storage).add({ message: "one", agent_name: "writer", enable_reasoning: false });
  open(storage).add({ message: "two" });
  const again = open(storage);
  assert.deepEqual(texts(again.items()), ["one", "two"]);
  assert.equal(again.items()[0].agent_name, "writer");
  assert.equal(again.items()[0].enable_reasoning, false);
});

test("each message goes out once per line, and again with the same id over the next", () => {
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

test("what could not be taken goes out again with the same id, alone", () => {
  const outbox = open(memory());
  const ids = ["one", "two"].map((message) => outbox.add({ message }).client_message_id);
  for (const id of ids) outbox.markSent(id);
  outbox.forgetSending(ids[0]);
  assert.deepEqual(
    outbox.unsent().map((item) => item.client_message_id),
    [ids[0]],
  );
});

test("accepted is gone for good", () => {
  const storage = memory();
  const outbox = open(storage);
  outbox.remove(outbox.add({ message: "one" }).client_message_id);
  assert.deepEqual(open(storage).items(), []);
  assert.equal(storage.kept.size, 0);
});

test("refused stays with its words and is not sent again by itself", () => {
  const storage = memory();
  const outbox = open(storage);
  const { client_message_id: id } = outbox.add({ message: "one" });
  outbox.refuse(id, { code: "queue_full", message: "Five messages wait already." });
  assert.equal(open(storage).items()[0].error.code, "queue_full");
  assert.deepEqual(open(storage).unsent(), []);
});

test("sessions and users do not see each other's", () => {
  const storage = memory();
  open(storage).add({ message: "mine" });
  assert.deepEqual(open(storage, { session: "other" }).items(), []);
  assert.deepEqual(open(storage, { user: 2 }).items(), []);
});

test("two pages of one session share it", () => {
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
  test(`where storage is ${name}, messages live as long as the page, and it says so`, () => {
    const outbox = open(storage);
    outbox.add({ message: "one" });
    assert.deepEqual(texts(outbox.items()), ["one"]);
    assert.equal(outbox.isSaved, false);
  });
}

test("what someone else has put there is no message", () => {
  const storage = memory();
  storage.setItem("thinkaloud.outbox.1.s", '{"not":"a list"}');
  assert.deepEqual(open(storage).items(), []);
  storage.setItem("thinkaloud.outbox.1.s", '[{"no":"id"}, null, 3]');
  assert.deepEqual(open(storage).items(), []);
  storage.setItem("thinkaloud.outbox.1.s", "{broken");
  assert.deepEqual(open(storage).items(), []);
});

test("drafts are kept per session and forgotten when empty", () => {
  const storage = memory();
  createDraft({ storage, user: 1, session: "s" }).write("half a thought");
  assert.equal(createDraft({ storage, user: 1, session: "s" }).read(), "half a thought");
  assert.equal(createDraft({ storage, user: 1, session: "t" }).read(), "");
  createDraft({ storage, user: 1, session: "s" }).write("");
  assert.equal(storage.kept.size, 0);
  createDraft({ storage: null, user: 1, session: "s" }).write("kept nowhere");
});
