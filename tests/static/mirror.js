/** Returns the results of the scripts' functions, for tests that compare them with the same functions in Python. */

import { createInterface } from "node:readline";

import footnote from "markdown-it-footnote";
import MarkdownIt from "markdown-it";

import { makeParsers, parserFor } from "../../static/chat/lib/markdown.js";
import { argumentsRow } from "../../static/chat/run/result.js";
import { answerBar, broken, counts, itemBar, waitsFor, wholeMs } from "../../static/chat/state/figures.js";
import { addDelta } from "../../static/chat/state/growth.js";
import { initial, reduce } from "../../static/chat/state/transcript.js";
import { stripMarkdown } from "../../static/chat/lib/strip-markdown.js";
import { complete } from "../../static/chat/run/unfinished.js";
import * as decisions from "../../static/chat/state/decisions.js";
import * as figures from "../../static/chat/state/humanize.js";
import * as ends from "../../static/chat/state/run-status.js";

const words = { ...figures, ...ends };

const parsers = makeParsers(MarkdownIt, footnote);
const rendered = (text) => parserFor(parsers, text).render(text);

const questions = {
  complete,
  markdown: (texts) => texts.map(rendered),
  /** CPU milliseconds that a text takes. */
  took(text) {
    const before = process.cpuUsage();
    rendered(text);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  },
  strip: (texts) => texts.map(stripMarkdown),
  words: (calls) => calls.map(([name, ...args]) => words[name](...args)),
  inside: (all) => all.map(argumentsRow),
  growth: (deltas) => deltas.reduce(addDelta, null)?.text ?? null,
  transcript(frames) {
    const state = frames.reduce(reduce, initial());
    return [...state.order, ...state.within].map((id) => {
      const run = state.runs[id];
      const { growth: _growth, finished: _finished, ended: _ended, ...compared } = run;
      return {
        run: compared,
        counts: counts(run),
        bars: [...run.items.map((item) => itemBar(run, item, wholeMs(run))), answerBar(run, wholeMs(run))],
        endline: run.ended ? words.runSummary(run, counts(run)) : "",
        waits: waitsFor(run),
        calls: run.items.flatMap((item) =>
          item.calls.map((call) => ({
            state: words.callState(run, call, broken(run, item, call)),
            asked: decisions.requestLine(run.user, Boolean(call.request?.fields)),
            byItself: call.request ? [decisions.byItself(call.request, ""), decisions.byItself(call.request, "0:59")] : null,
            text: call.decision ? decisions.decisionLine(call.decision, Boolean(call.request?.fields)) : "",
            changes: call.decision ? decisions.argumentChanges(call.arguments, call.decision.arguments) : [],
            answers: decisions.answerPairs(call.request, call.decision),
          })),
        ),
        trouble: run.ended ? words.failureBanner(run, counts(run)) : null,
      };
    });
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { question, given } = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(questions[question](given))}\n`);
}
