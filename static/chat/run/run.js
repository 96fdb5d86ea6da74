/**
 * One run of the log, painted: question, outline, answer, end. Touches only what has changed since it was painted last.
 */

import { pathTo } from "../transport/addresses.js";
import { clone, make, mark, rect, say, setBar, setIcon, show, slot } from "../lib/dom.js";
import { highlight } from "../lib/colouring.js";
import { createWriter, growPlain } from "./growing.js";
import { load, typeset } from "../lib/markdown.js";
import { dress, fillArguments, fillResult } from "./result.js";
import { answerBar, bar, broken, counts, itemBar, span, using, wentOn } from "../state/transcript.js";
import {
  SENTENCES,
  atOnce,
  atWorkLine,
  callState,
  did,
  dot,
  duration,
  endIcon,
  endline,
  failed,
  gist,
  icon,
  initials,
  isLong,
  joined,
  markdownGist,
  returned,
  roughly,
  status,
  steps,
  telling,
  thoughtFor,
  ticking,
  tint,
  trouble,
} from "../state/humanize.js";

const CAUSE = 400;
/** Milliseconds between two paintings of a growing text. */
const PAINT_EVERY = 100;
/** Painting takes at most the one part in so many of the time, however long the text is. */
const COST_SHARE = 5;
/** And the longest pause that may follow, in milliseconds: a machine that was held up once would leave the answer standing. */
const LONGEST_PAUSE = 1_000;
/** Finished blocks of a growing thought that stay in its small window, which shows three lines. */
const RECENT = 4;

let renderer = null;
load().then((loaded) => {
  renderer = loaded;
});

/**
 * @param {object} from
 * @param {(seq: number) => string} from.contentUrl where the whole of a long result lies
 * @param {(change: () => void) => void} from.around what changes the page's height on its own account is done within it
 * @param {object} from.choices which outlines and steps the reader has opened or closed
 * @param {Element|null} from.element the article that the server has rendered, if it has
 */
export function createRun({ run, element, contentUrl, choices, around, agentTitle, mayDrive, locale }) {
  const adopted = element !== null;
  const article = element ?? clone("run");
  const parts = Object.fromEntries(
    [
      "ava", "user", "when", "continues", "by", "copy-q", "q", "more-q", "outline", "what", "fact", "failed", "now", "strip", "steps", "answer",
      "ending", "trouble", "trouble-icon", "trouble-title", "trouble-text", "continue", "end-i", "endline", "inspect",
    ].map((name) => [name, slot(article, name)]),
  );
  /** What is painted, item by item. */
  const rows = [];
  /** What is inside each call's card: the call, and whether its parts are filled. */
  const cards = new Map();
  let painted = null;
  let growing = null;
  let answer = null;
  let foldedByUs = false;

  if (adopted) adopt();
  else begin();

  function begin() {
    article.id = `run-${run.id}`;
    article.dataset.run = run.id;
    article.classList.add("arrive");
  }

  function adopt() {
    const elements = [...parts.steps.children].slice(-run.items.length || undefined);
    if (run.items.length) {
      run.items.forEach((item, index) => {
        const row = elements[index];
        if (!row) return;
        rows[index] = { item, element: row, goneOn: null, ended: run.ended };
        row.querySelectorAll("[data-call]").forEach((card, place) => {
          cards.set(card, { call: item.calls[place] ?? null, args: true, result: true });
        });
      });
    }
    painted = run.ended ? run : null;
    const prose = slot(parts.answer, "prose");
    if (prose) answer = { element: prose.closest("[data-item]"), prose, seq: run.answer?.seq ?? null, finished: true };
    remember();
  }

  function remember() {
    const chosen = choices.outline(run.id);
    if (chosen !== null && parts.outline.open !== chosen) parts.outline.open = chosen;
  }

  /** Paint the run as it now is. Returns how many rows were added. */
  function paint(next, now) {
    if (next === painted) return 0;
    const before = painted;
    run = next;
    if (!before || before.started_at !== next.started_at || before.message !== next.message) paintHead();
    const added = paintItems(now);
    paintGrowth(now);
    paintAnswer();
    paintSummary(now);
    if (next.ended && !(before?.ended ?? false)) paintEnd(before !== null);
    mark(article, "status", next.status);
    if (next.ended) article.removeAttribute("aria-busy");
    else article.setAttribute("aria-busy", "true");
    painted = next;
    return added;
  }

  function paintHead() {
    parts.ava.className = `ava ${tint(run.user)}`;
    say(parts.ava, initials(run.user));
    say(parts.user, run.user);
    if (run.started_at !== null) {
      const when = new Date(run.started_at * 1000);
      parts.when.dateTime = when.toISOString();
      say(parts.when, when.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }));
    }
    say(parts.q, run.message);
    const isShown = run.continues === null;
    parts.q.classList.toggle("long", isLong(run.message));
    show(parts.q, isShown);
    show(parts["copy-q"], isShown);
    show(parts["more-q"], isShown && isLong(run.message));
    show(parts.continues, run.continues !== null);
    if (run.continues) parts.continues.href = `#run-${run.continues}`;
    say(parts.by, joined(agentTitle(run.agent), run.model));
    parts.inspect.href = pathTo(`runs/${run.id}/`);
    if (!adopted) {
      parts.outline.open = choices.outline(run.id) ?? true;
    }
  }

  function paintItems(now) {
    let added = 0;
    let changed = false;
    run.items.forEach((item, index) => {
      const goneOn = wentOn(run, item);
      const row = rows[index];
      if (!row) {
        const element = build(item);
        element.classList.add("arrive");
        parts.steps.insertBefore(element, growing?.element.parentNode === parts.steps ? growing.element : null);
        rows[index] = { item, element, goneOn, ended: run.ended };
        added += 1;
        changed = true;
      } else if (row.item !== item || (unsettled(item) && (row.goneOn !== goneOn || row.ended !== run.ended))) {
        if (item.kind === "calls") repaint(row, item);
        rows[index] = { item, element: row.element, goneOn, ended: run.ended };
        changed = true;
      }
    });
    if (changed) drawBars(now);
    show(parts.outline, rows.length > 0 || growing?.element.parentNode === parts.steps);
    return added;
  }

  /** Whether what happens later still changes how an item reads. */
  function unsettled(item) {
    return item.calls.some((call) => call.result === null || !call.result.ok);
  }

  function build(item) {
    const element = clone(item.kind === "thought" ? "thought" : item.calls.length > 1 ? "calls" : "call");
    number(element, item.seq);
    if (item.kind === "thought") fillThought(element, item);
    else fillCalls(element, item);
    return element;
  }

  function number(element, seq) {
    if (seq === null) return;
    element.id = `s${seq}`;
    const link = slot(element, "n");
    say(link, String(seq));
    link.href = `#s${seq}`;
  }

  function fillThought(element, item) {
    say(slot(element, "name"), thoughtFor(item.duration_ms));
    say(slot(element, "arg"), markdownGist(item.text));
    say(slot(element, "dur"), duration(item.duration_ms));
    const text = slot(element, "text");
    const written = make("p", item.text, "unrendered");
    written.dir = "auto";
    text.replaceChildren(written);
    if (item.partial) text.after(clone("stopped"));
  }

  function repaint(row, item) {
    const isPair = row.element.dataset.item === "calls";
    if (isPair === item.calls.length > 1) {
      fillCalls(row.element, item);
      return;
    }
    const element = build(item);
    row.element.replaceWith(element);
    row.element = element;
  }

  function fillCalls(element, item) {
    if (element.dataset.item === "call") {
      const [call] = item.calls;
      const card = element.querySelector(".tool");
      const [state] = fillCall(card, item, call);
      mark(element, "state", state);
      setIcon(slot(element, "icon"), icon(call.name));
      const cause = state === "fail" || state === "off" ? (call.result?.content ?? "").trim().slice(0, CAUSE) : "";
      show(slot(element, "err"), cause !== "");
      say(slot(element, "cause"), cause);
      show(slot(element, "from"), state === "fail");
      show(slot(element, "after"), state === "fail" && wentOn(run, item));
      return;
    }
    const pair = slot(element, "pair");
    const states = item.calls.map((call, index) => {
      const mini = pair.children[index] ?? pair.appendChild(clone("mini"));
      const [state] = fillCall(mini, item, call);
      mark(mini, "state", state);
      // The first call's number is the row's own.
      if (call.seq !== null && call.seq !== item.seq) mini.id = `s${call.seq}`;
      setIcon(slot(mini, "icon"), icon(call.name));
      say(slot(mini, "seqs"), call.seq && call.result?.seq ? `${call.seq} → ${call.result.seq}` : "");
      if (call.result && !call.result.ok && call.result.content) say(slot(mini, "out"), call.result.content.trim().slice(0, CAUSE));
      return state;
    });
    mark(element, "state", ["live", "fail", "off"].find((state) => states.includes(state)) ?? "");
    say(slot(element, "name"), atOnce(item.calls.length));
    const word = failed(states.filter((state) => state === "fail").length);
    say(slot(element, "state"), word);
    show(slot(element, "state"), word !== "");
    const took = span(item);
    say(slot(element, "dur"), took === null ? "" : duration(Math.round((took[1] - took[0]) * 1000)));
  }

  /** The line and the inside of one call; returns its state and word. */
  function fillCall(card, item, call) {
    const [state, word] = callState(run, call, broken(run, item, call));
    const inside = cards.get(card) ?? { call: null, args: false, result: false };
    const isNew = inside.call === null && !inside.args;
    card.dataset.call = call.call_id;
    mark(card, "result", call.result?.seq ? String(call.result.seq) : "");
    say(slot(card, "name"), call.name);
    if (call.arguments !== null) {
      const told = telling(call.arguments);
      say(slot(card, "arg"), told.text);
      if (!card.classList.contains("mini")) slot(card, "arg").classList.toggle("mono", told.code);
    }
    if (call.result?.ok && call.result !== inside.call?.result) say(slot(card, "out"), returned(call.result.content));
    say(slot(card, "state"), word);
    show(slot(card, "state"), word !== "");
    say(slot(card, "dur"), call.result ? duration(call.result.duration_ms) : "");
    const filled = {
      call,
      args: inside.args && inside.call?.arguments === call.arguments,
      result: inside.result && inside.call?.result === call.result,
    };
    // What the server has rendered and then left out of the state is there already.
    if (call.arguments === null) filled.args = true;
    cards.set(card, filled);
    if (isNew && card.classList.contains("tool")) {
      card.open = choices.step(call.seq) ?? (!run.ended && typeof call.arguments?.code === "string");
    }
    if (card.open) fillInside(card);
    return [state, word];
  }

  /** Fill a card's parts, when it is open. */
  function fillInside(card) {
    const inside = cards.get(card);
    if (!inside?.call) {
      dress(card);
      return;
    }
    if (!inside.args) fillArguments(card, inside.call.arguments);
    if (!inside.result) fillResult(card, inside.call.result, contentUrl);
    inside.args = inside.result = true;
    dress(card);
  }

  function paintGrowth(now) {
    const { growth } = run;
    const inAnswer = growth !== null && (growth.type === "final_answer" || growth.type === "response");
    if (growing !== null && (growth === null || inAnswer || growing.step !== growth.step)) {
      close(growing);
      growing = null;
    }
    if (growth === null || inAnswer) return;
    if (growing === null) {
      const element = clone("growing");
      growing = {
        element,
        step: growth.step,
        name: slot(element, "name"),
        arg: slot(element, "arg"),
        state: slot(element, "state"),
        dur: slot(element, "dur"),
        bar: slot(element, "bar"),
        window: slot(element, "window"),
        ...unwritten(slot(element, "text")),
      };
      element.classList.add("arrive");
      parts.steps.append(element);
      show(parts.outline, true);
    }
    const isTool = growth.type === "tool_use" || growth.type === "tool_result";
    mark(growing.element, "kind", isTool ? "tool" : "");
    setIcon(slot(growing.element, "icon"), isTool ? icon(growth.tool_name) : "thought");
    say(growing.name, isTool ? growth.tool_name || SENTENCES.toolCall : SENTENCES.thinking);
    growing.name.classList.toggle("t-live", !isTool);
    show(growing.state, isTool);
    show(growing.window, !isTool);
    if (isTool) say(growing.arg, growth.text.slice(-120));
    else {
      growing.text = growth.text;
      writeSoon(growing);
    }
    tickGrowth(now);
  }

  function tickGrowth(now) {
    if (growing === null) return;
    const since = lastMoment();
    const told = now === null ? "" : ticking((now - since) * 1000);
    say(growing.dur, told);
    const total = totalMs(now);
    setBar(growing.bar, bar(run, [since, now], total, "live"));
  }

  /** When the latest finished thing of the run ended: what grows now began then. */
  function lastMoment() {
    let latest = run.started_at ?? 0;
    for (const item of run.items.slice(-3)) {
      latest = Math.max(latest, item.at);
      for (const call of item.calls) latest = Math.max(latest, call.at, call.result?.at ?? 0);
    }
    return latest;
  }

  function totalMs(now) {
    if (run.duration_ms !== null) return run.duration_ms;
    return now === null || run.started_at === null ? 0 : (now - run.started_at) * 1000;
  }

  function paintAnswer() {
    const { growth } = run;
    const grows = growth !== null && (growth.type === "final_answer" || growth.type === "response");
    if (run.answer !== null) {
      if (answer?.seq !== run.answer.seq) {
        openAnswer();
        finishAnswer();
      }
    } else if (grows) {
      openAnswer();
      answer.text = growth.text;
      writeSoon(answer);
    } else if (answer !== null && answer.seq === null) {
      close(answer);
      answer = null;
    }
  }

  function openAnswer() {
    if (answer !== null) return;
    const element = clone("answer");
    element.querySelector(".mark-live").classList.remove("over");
    element.classList.add("arrive");
    parts.answer.replaceChildren(element);
    answer = { element, seq: null, ...unwritten(slot(element, "prose")) };
    answer.prose.classList.add("growing");
  }

  /** A text that is going to grow in an element, with nothing written of it yet. */
  function unwritten(prose) {
    return { prose, text: "", writer: null, timer: null, at: 0, cost: 0 };
  }

  function close(writing) {
    clearTimeout(writing.timer);
    writing.element.remove();
  }

  function writeSoon(writing) {
    if (writing.timer !== null) return;
    const pause = Math.min(LONGEST_PAUSE, Math.max(PAINT_EVERY, writing.cost * COST_SHARE));
    const wait = Math.max(0, writing.at + pause - performance.now());
    if (wait === 0) {
      write(writing);
      return;
    }
    writing.timer = setTimeout(() => {
      writing.timer = null;
      if (writing === growing || writing.seq === null) around(() => write(writing));
    }, wait);
  }

  function write(writing) {
    writing.at = performance.now();
    if (renderer === null) {
      writing.prose.classList.add("plain");
      growPlain(writing.prose, writing.text);
      return;
    }
    if (writing.writer === null) {
      writing.prose.classList.remove("plain");
      writing.prose.replaceChildren();
      writing.writer = createWriter(writing.prose, renderer);
    }
    const finished = writing.writer.write(writing.text);
    if (writing === growing) for (const node of finished.splice(0, finished.length - RECENT)) node.remove();
    else {
      decorate(finished, writing);
      offerCopies(writing.prose);
    }
    writing.cost = performance.now() - writing.at;
  }

  async function finishAnswer() {
    const mine = answer;
    clearTimeout(mine.timer);
    mine.seq = run.answer.seq;
    const { text, partial } = run.answer;
    number(mine.element, mine.seq);
    mine.element.querySelector(".mark-live").classList.add("over");
    mine.prose.classList.remove("growing");
    if (partial) mine.prose.after(clone("stopped"));
    if (renderer === null) growPlain(mine.prose, text);
    const ready = renderer ?? (await load());
    if (ready === null) {
      mine.prose.classList.add("plain");
      return;
    }
    if (mine.writer === null) {
      mine.prose.classList.remove("plain");
      mine.prose.replaceChildren();
      mine.writer = createWriter(mine.prose, ready);
    }
    mine.decorated = 0;
    around(() => decorate(mine.writer.finish(text), mine));
  }

  function paintSummary(now) {
    const number_ = counts(run);
    say(parts.what, did(names(run), number_.thoughts) || atWorkLine);
    say(parts.fact, joined(number_.steps ? steps(number_.steps) : "", run.ended ? roughly(run.duration_ms) : ""));
    const word = failed(number_.failed);
    say(parts.failed, word);
    show(parts.failed, word !== "");
    tickSummary(now);
  }

  function tickSummary(now) {
    const folded = !run.ended && !parts.outline.open;
    say(parts.now, folded ? joined(word(), now === null || run.started_at === null ? "" : ticking((now - run.started_at) * 1000)) : "");
  }

  function word() {
    return status(run.status, {
      using: using(run),
      growing: run.growth?.type ?? "",
      begun: run.items.length > 0 || run.growth !== null,
      by: run.cancelled_by,
      limit: run.limit || run.iteration,
    });
  }

  /** The run is over: its line, its trouble if it had any, its bars for good; its outline folds unless the reader chose. */
  function paintEnd(wasOpen) {
    drawBars(null);
    const number_ = counts(run);
    article.classList.toggle("removed", run.removed);
    show(parts.ending, true);
    say(parts.endline, endline(run, number_));
    setIcon(parts["end-i"], endIcon(run.status));
    const said = trouble(run, number_);
    show(parts.trouble, said !== null);
    if (said !== null) {
      parts.trouble.className = `banner ${said.tone}`;
      setIcon(parts["trouble-icon"], said.icon);
      say(parts["trouble-title"], said.title);
      say(parts["trouble-text"], said.text);
      show(parts.continue, mayDrive);
    }
    say(parts.now, "");
    parts.strip.replaceChildren(
      parts.strip.firstElementChild,
      ...[...run.items.map((item) => itemBar(run, item, run.duration_ms)), answerBar(run, run.duration_ms)]
        .filter(Boolean)
        .map(rect),
    );
    if (wasOpen && choices.outline(run.id) === null && run.status !== "failed" && parts.outline.open) {
      foldedByUs = true;
      parts.outline.open = false;
    }
    if (wasOpen) {
      // Code was opened to be watched; now it is history, unless the reader has chosen.
      for (const [card, { call }] of cards) {
        if (call && choices.step(call.seq) === undefined) card.open = false;
      }
    }
  }

  function drawBars(now) {
    const total = totalMs(now);
    rows.forEach(({ item, element }) => {
      const live = item.kind === "calls" && item.calls.some((call) => call.result === null);
      const where = live && now !== null ? bar(run, [item.at, now], total, "live") : itemBar(run, item, total);
      setBar(slot(element, "bar"), where);
    });
  }

  /** Twice a second while it runs: clocks and bars. */
  function tick(now) {
    if (run.ended || now === null) return;
    tickGrowth(now);
    tickSummary(now);
    if (!parts.outline.open) return;
    drawBars(now);
    const last = rows.at(-1);
    if (last?.item.kind !== "calls") return;
    const waiting = last.item.calls.filter((call) => call.result === null);
    for (const call of waiting) {
      const card = [...cards].find(([, inside]) => inside.call === call)?.[0];
      if (card) say(slot(card, "dur"), ticking((now - call.at) * 1000));
    }
    if (waiting.length && last.item.calls.length > 1) {
      say(slot(last.element, "dur"), ticking((now - last.item.at) * 1000));
    }
  }

  return {
    article,
    outline: parts.outline,
    paint,
    tick,
    word,
    fillInside,
    names: () => ({ dot: dot(run.status) }),
    /** Whether the last toggle of the outline was ours, not the reader's. */
    takeFold() {
      const ours = foldedByUs;
      foldedByUs = false;
      return ours;
    },
    get run() {
      return run;
    },
  };
}

function names(run) {
  return run.items.flatMap((item) => item.calls.map((call) => call.name));
}

/** Each block of code has its own copy, also while it grows. */
function offerCopies(prose) {
  for (const header of prose.querySelectorAll(".codeblock > header:not(:has(button))")) header.append(clone("copy"));
}

/** A thought that is opened: rendered where the page did not do it, and its code and formulas dressed, once. */
export async function openThought(details) {
  const prose = slot(details, "text");
  if (prose.dataset.done) return;
  prose.dataset.done = "true";
  const unrendered = prose.querySelector(":scope > .unrendered:only-child");
  const ready = renderer ?? (await load());
  if (unrendered && ready !== null) {
    const text = unrendered.textContent;
    prose.replaceChildren();
    createWriter(prose, ready).finish(text);
  }
  decorate([...prose.childNodes]);
}

/** Finished blocks of an answer get their colours, formulas and copy buttons, each once. */
export function decorate(nodes, memory = {}) {
  const fresh = nodes.slice(memory.decorated ?? 0).filter((node) => node.nodeType === 1);
  memory.decorated = nodes.length;
  if (!fresh.length) return;
  const all = (selector) => fresh.flatMap((node) => [...(node.matches(selector) ? [node] : []), ...node.querySelectorAll(selector)]);
  for (const header of all(".codeblock > header:not(:has(button))")) header.append(clone("copy"));
  whenUnselected(all("code[data-language]"), highlight);
  whenUnselected(all(".math"), typeset);
}

/** What is being selected is dressed once it is not any more: dressing makes new nodes, and the selection would go. */
function whenUnselected(elements, dressUp) {
  const selection = document.getSelection();
  const isIn = (element) => !selection.isCollapsed && selection.containsNode(element, true);
  const [waiting, free] = [elements.filter(isIn), elements.filter((element) => !isIn(element))];
  dressUp(free);
  if (waiting.length) document.addEventListener("selectionchange", () => whenUnselected(waiting, dressUp), { once: true });
}
