import assert from "node:assert/strict";
import { test } from "node:test";

import { pastedFiles } from "../../static/chat/lib/pasted.js";

const PICTURE = { name: "image.png", type: "image/png" };
const REPORT = { name: "report.pdf", type: "application/pdf" };

/** What is copied in which program, the clipboard's content, and the files that are meant. A further program is a line. */
const COPIED = {
  "a text": [{ "text/plain": "tea" }, [], []],
  "a text of a page": [{ "text/plain": "tea", "text/html": "<b>tea</b>" }, [], []],
  "a screenshot": [{}, [PICTURE], [PICTURE]],
  "a picture of a page": [{ "text/html": '<img src="a.png">' }, [PICTURE], [PICTURE]],
  "a picture of a page, with an empty text": [{ "text/html": '<img src="a.png">', "text/plain": "\n" }, [PICTURE], [PICTURE]],
  "cells of a spreadsheet": [{ "text/plain": "1\t2\n", "text/html": "<table>…</table>", "text/rtf": "{\\rtf1}" }, [PICTURE], []],
  "a paragraph of a document": [{ "text/plain": "tea", "text/rtf": "{\\rtf1}" }, [PICTURE], []],
  "a file": [{}, [REPORT], [REPORT]],
  "a file, with its name": [{ "text/plain": "report.pdf" }, [REPORT], [REPORT]],
  "several files": [{ "text/uri-list": "file:///a" }, [REPORT, PICTURE], [REPORT, PICTURE]],
  nothing: [{}, [], []],
};

for (const [what, [texts, files, meant]] of Object.entries(COPIED)) {
  test(`pasting ${what}`, () => {
    const types = [...Object.keys(texts), ...(files.length ? ["Files"] : [])];
    assert.deepEqual(pastedFiles({ types, files, getData: (type) => texts[type] ?? "" }), meant);
  });
}

test("an event without a clipboard", () => assert.deepEqual(pastedFiles(null), []));
