import assert from "node:assert/strict";
import { test } from "node:test";

import { createDraft } from "../../static/chat/state/drafts.js";
import { memory, tabs } from "./browser.js";

/** A browser with pages; of a page only the message box exists. */
function browser({ storage = memory() } = {}) {
  const join = tabs();
  return {
    storage,
    open({ tab = memory(), session = "s", user = 1 } = {}) {
      const channel = join();
      let late = () => {};
      const page = { text: "", tab, channel };
      const draft = createDraft({
        storage,
        tab,
        user,
        session,
        channel,
        later: (run) => (late = run),
        onFound: (text) => page.text === "" && Boolean((page.text = text)),
        onLost(text) {
          if (page.text === text) page.text = "";
        },
      });
      page.text ||= draft.read();
      return Object.assign(page, {
        type(text) {
          page.text = text;
          draft.write(text);
        },
        settle: () => (late(), page),
        wake: () => ((channel.isAsleep = false), draft.check(), page),
        sleep: () => (channel.isAsleep = true),
        close: () => channel.leave(),
      });
    },
  };
}

/** What a user does, and the texts in the message boxes then; a further case is one line. */
const CASES = {
  "a reload": ({ open }) => {
    const page = open();
    page.type("half");
    page.close();
    return [open({ tab: page.tab }).settle()];
  },
  "a closed tab": ({ open }) => {
    const page = open();
    page.type("half");
    page.close();
    return [open().settle()];
  },
  "two tabs, and the second one's is written last": ({ open }) => {
    const [one, other] = [open().settle(), open().settle()];
    one.type("half");
    other.type("other");
    one.close();
    other.close();
    return [open({ tab: one.tab }).settle(), open({ tab: other.tab }).settle()];
  },
  "two tabs, of which one is sent": ({ open }) => {
    const [one, other] = [open().settle(), open().settle()];
    one.type("half");
    other.type("sent");
    other.type("");
    other.close();
    return [one, open({ tab: other.tab }).settle()];
  },
  "a second tab beside one that is written in": ({ open }) => {
    const one = open().settle();
    one.type("half");
    return [one, open().settle()];
  },
  "two closed tabs, one after another": ({ open }) => {
    const [one, other] = [open().settle(), open().settle()];
    one.type("half");
    other.type("other");
    one.close();
    other.close();
    return [open().settle(), open().settle()];
  },
  "a copied tab": ({ open, storage }) => {
    const one = open().settle();
    one.type("half");
    const tab = memory();
    for (const [key, value] of one.tab.kept) tab.setItem(key, value);
    assert.equal(storage.kept.size, 1);
    return [one, open({ tab }).settle()];
  },
  "a tab that sleeps while its text is taken over": ({ open }) => {
    const one = open().settle();
    one.type("half");
    one.sleep();
    const other = open().settle();
    return [one.wake(), other];
  },
  "a tab that sleeps, and was written in since": ({ open }) => {
    const one = open().settle();
    one.type("half");
    one.sleep();
    const other = open().settle();
    one.text = "half, and more";
    return [one.wake(), other];
  },
  "something typed before what was left behind is found": ({ open }) => {
    const page = open();
    page.type("half");
    page.close();
    const next = open();
    next.type("typed at once");
    next.settle();
    next.close();
    return [next, open().settle()];
  },
  "another session and another reader": ({ open }) => {
    open().type("half");
    return [open({ session: "t" }).settle(), open({ user: 2 }).settle(), open({ session: "ss" }).settle()];
  },
  "an earlier version's": ({ open, storage }) => {
    storage.setItem("thinkaloud.draft.1.s", "half");
    return [open().settle(), open().settle()];
  },
};
const BOXES = {
  "a reload": ["half"],
  "a closed tab": ["half"],
  "two tabs, and the second one's is written last": ["half", "other"],
  "two tabs, of which one is sent": ["half", ""],
  "a second tab beside one that is written in": ["half", ""],
  "two closed tabs, one after another": ["half", "other"],
  "a copied tab": ["half", ""],
  "a tab that sleeps while its text is taken over": ["", "half"],
  "a tab that sleeps, and was written in since": ["half, and more", "half"],
  "something typed before what was left behind is found": ["typed at once", "half"],
  "another session and another reader": ["", "", ""],
  "an earlier version's": ["half", ""],
};

for (const [name, act] of Object.entries(CASES)) {
  test(`a draft is in one box: ${name}`, () => {
    const pages = act(browser());
    assert.deepEqual(
      pages.map((page) => page.text),
      BOXES[name],
    );
  });
}

test("a sent text leaves no draft", () => {
  const { open, storage } = browser();
  const page = open().settle();
  page.type("half");
  page.type("");
  assert.equal(storage.kept.size, 0);
});

for (const [name, storage] of [
  ["full", memory({ full: true })],
  ["forbidden", null],
]) {
  test(`where storage is ${name}, it reports that nothing is stored`, () => {
    const draft = createDraft({ storage, tab: null, user: 1, session: "s", channel: null, later: () => {} });
    assert.equal(draft.write("half"), false);
    assert.equal(draft.read(), "");
  });
}
