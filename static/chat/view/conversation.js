/**
 * The conversation's page, painted from its state: the only door to the document for what arrives.
 */

import { pathTo } from "../transport/addresses.js";
import { copy } from "../lib/clipboard.js";
import { clone, make, mark, say, setIcon, show, slot, visible } from "../lib/dom.js";
import { closeNotice, notice } from "./notices.js";
import { createReading } from "./scroll.js";
import { dress, showWhole } from "../run/result.js";
import { createRun, decorate, openThought } from "../run/run.js";
import { current } from "../state/transcript.js";
import {
  SENTENCES,
  clock,
  connection,
  dot,
  initials,
  iterationOf,
  roughly,
  status,
  tint,
  usage,
} from "../state/humanize.js";

const GAUGE = 20;
const PEOPLE = 4;

/**
 * @param {object} page what the server put into the page
 * @param {object} act what a reader's click asks for: stop, continue, remove a waiting message, …
 */
export function createView({ page, act, storage, fetchContent }) {
  const byId = (id) => document.getElementById(id);
  const log = byId("log");
  const scroll = byId("scroll");
  const reading = createReading({ scroll, log, jump: byId("jump") });
  const choices = createChoices(storage, page);
  const runs = new Map();
  const header = {
    dot: byId("run-dot"),
    state: byId("run-state"),
    facts: byId("run-facts"),
    clock: byId("clock"),
    iteration: byId("iteration"),
    short: byId("iteration-short"),
    gauge: byId("gauge"),
    tokens: byId("tokens"),
    people: byId("people"),
    chip: byId("chip"),
    words: byId("link-words"),
    stop: byId("stop"),
    title: byId("title"),
    favicon: byId("favicon"),
  };
  let painted = null;
  let latest = null;
  let receipt = null;
  let link = { word: "idle" };
  let title = page.session.title;

  for (const element of log.querySelectorAll(".answer .prose")) {
    decorate([...element.childNodes]);
    if (element.firstElementChild === null) element.classList.add("plain");
  }
  for (const card of log.querySelectorAll(".tool")) {
    const chosen = choices.step(card.closest(".step").id.slice(1));
    if (chosen !== undefined) card.open = chosen;
    if (card.open) dress(card);
  }
  for (const outline of log.querySelectorAll(".outline")) {
    const chosen = choices.outline(outline.closest(".run").dataset.run);
    if (chosen !== null) outline.open = chosen;
  }

  // ---- what the reader opens and closes ----
  let byHand = false;
  log.addEventListener("pointerdown", () => (byHand = true));
  log.addEventListener("keydown", () => (byHand = true));
  log.addEventListener(
    "click",
    (event) => {
      const summary = event.target.closest("summary");
      if (summary) byHand = true;
    },
    true,
  );
  log.addEventListener(
    "toggle",
    (event) => {
      const details = event.target;
      if (details.matches(".outline")) toggledOutline(details);
      else if (details.matches(".tool, .mini")) {
        if (details.open) opened(details);
        if (byHand) choices.setStep(details.closest("[id^=s]")?.id.slice(1), details.open);
      } else if (details.open && details.matches("[data-item=thought] > details")) {
        openThought(details);
      }
      if (byHand && details.open) reading.leave();
      byHand = false;
    },
    true,
  );

  function toggledOutline(details) {
    const id = details.closest(".run").dataset.run;
    if (runs.get(id)?.takeFold()) return;
    if (byHand) choices.setOutline(id, details.open);
  }

  function opened(card) {
    const row = runs.get(card.closest(".run")?.dataset.run);
    if (row) row.fillInside(card);
    else dress(card);
  }

  // ---- the actions of a row take the strip's place; they stand beside what opens the row, not inside it ----
  const acts = clone("acts");
  const offer = (event) => {
    const row = event.target.closest?.(".step .row");
    const step = row?.querySelector(".strip") && row.closest(".step[id]");
    if (step && acts.parentNode !== step) step.append(acts);
  };
  if (matchMedia("(hover: hover)").matches) log.addEventListener("pointerover", offer, { passive: true });
  log.addEventListener("focusin", offer);
  log.addEventListener("pointerleave", () => acts.remove());

  log.addEventListener("click", (event) => {
    const button = event.target.closest("[data-action]");
    if (button) clicked(button, event);
  });

  function clicked(button, event) {
    const step = button.closest(".step, .answer");
    const run = button.closest(".run");
    switch (button.dataset.action) {
      case "copy-code":
        copy({ text: button.closest(".codeblock").querySelector("code").textContent }, button);
        break;
      case "copy-part":
        event.preventDefault();
        copy({ text: partText(button.closest("[data-part]")) }, button);
        break;
      case "copy-step":
        event.preventDefault();
        event.stopPropagation();
        copy(stepOf(step), button);
        break;
      case "link-step":
        event.preventDefault();
        event.stopPropagation();
        copy({ text: new URL(`#${step.id}`, location.href).href }, button);
        break;
      case "copy-answer":
        copy(answerOf(run), button);
        break;
      case "copy-question":
        copy({ text: slot(run, "q").textContent }, button);
        break;
      case "fold-question":
        reading.steady(() => unfold(button, slot(run, "q")));
        break;
      case "copy-run-link":
        copy({ text: new URL(`#${run.id}`, location.href).href }, button);
        break;
      case "continue":
        button.disabled = true;
        act.goOn(run.dataset.run, () => (button.disabled = false));
        break;
      case "whole":
        event.preventDefault();
        showWhole(button, () => fetchContent(new URL(button.href).pathname.match(/events\/(\d+)\//u)[1]));
        break;
      case "starter":
        event.preventDefault();
        act.starter(button.querySelector("span").textContent);
        break;
      default:
    }
  }

  /** What a model wrote, as it wrote it and as it is shown: for where only text is taken, and for where more is. */
  function contentOf(prose, written) {
    const shown = prose.cloneNode(true);
    for (const ours of shown.querySelectorAll("button, .codeblock > header")) ours.remove();
    const seq = prose.closest("[id^=s]")?.id.slice(1);
    // What the server has rendered is not in the state.
    return { text: written || (seq ? fetchContent(seq) : ""), html: shown.innerHTML };
  }

  function answerOf(run) {
    const prose = run.querySelector(".answer .prose");
    const state = painted?.runs[run.dataset.run];
    return prose === null ? { text: "" } : contentOf(prose, state?.answer?.text || state?.growth?.text);
  }

  function unfold(button, question) {
    const isOpen = question.classList.toggle("all");
    button.dataset.more ??= button.textContent;
    button.setAttribute("aria-expanded", String(isOpen));
    say(button, isOpen ? button.dataset.less : button.dataset.more);
  }

  function partText(part) {
    const shown = [...part.querySelectorAll("pre.code")].find((block) => !block.hidden || block.dataset.slot === "content");
    if (shown?.textContent) return shown.textContent;
    return [...part.querySelectorAll("dt")].map((term) => `${term.textContent}: ${term.nextElementSibling.textContent}`).join("\n");
  }

  function stepOf(step) {
    const cards = [...step.querySelectorAll("[data-call]")];
    if (!cards.length) {
      const state = painted?.runs[step.closest(".run").dataset.run];
      return contentOf(slot(step, "text"), state?.items.find(({ seq }) => `s${seq}` === step.id)?.text);
    }
    cards.forEach(opened);
    const parts = cards.flatMap((card) => [...card.querySelectorAll("[data-part]:not([hidden])")]);
    return { text: parts.map(partText).join("\n\n") };
  }

  const earlier = byId("earlier");
  earlier?.addEventListener("click", (event) => {
    const anchor = event.target.closest("a");
    if (anchor) {
      event.preventDefault();
      showEarlier(anchor);
    }
  });

  /** Earlier steps come as the very page the link leads to; its rows are put before ours. */
  async function showEarlier(anchor) {
    anchor.setAttribute("aria-busy", "true");
    let other;
    try {
      other = await fetchPage(anchor.href);
    } catch {
      location.assign(anchor.href);
      return;
    }
    const found = other.querySelector("#log");
    reading.leave();
    reading.steady(() => {
      const first = log.querySelector(".run");
      for (const run of found.querySelectorAll(".run")) {
        const mine = byId(run.id);
        if (mine) {
          slot(mine, "steps").prepend(...slot(run, "steps").children);
          mine.querySelector(".outline > .earlier")?.remove();
          show(slot(mine, "outline"), true);
        } else {
          log.insertBefore(document.adoptNode(run), first);
          for (const prose of run.querySelectorAll(".answer .prose")) decorate([...prose.childNodes]);
          for (const card of run.querySelectorAll(".tool[open]")) opened(card);
        }
      }
      const next = found.querySelector("#earlier a");
      if (next) {
        anchor.href = next.href;
        anchor.textContent = next.textContent;
        anchor.removeAttribute("aria-busy");
      } else {
        earlier.remove();
      }
    });
  }

  // ---- painting ----
  function paint(state, given) {
    reading.came(reading.around(() => paintAll(state, given)));
  }

  /** Paint what has changed; returns how many rows have come. */
  function paintAll(state, { now, waiting, hasRoom }) {
    if (painted && state.resets !== painted.resets) clearLog();
    let added = 0;
    for (const id of state.order) {
      const run = state.runs[id];
      if (painted?.runs[id] === run && runs.has(id)) continue;
      added += paintRun(run, now);
    }
    latest = current(state);
    if (state.order.length) byId("nothing")?.remove();
    paintHeader(state, now);
    if (state.queue !== painted?.queue || waiting !== undefined) paintWaiting(state, waiting ?? [], hasRoom);
    if (state.people !== painted?.people) paintPeople(state.people);
    painted = state;
    return added;
  }

  function paintRun(run, now) {
    let row = runs.get(run.id);
    if (!row) {
      const element = byId(`run-${run.id}`);
      row = createRun({
        run,
        element,
        choices,
        around: reading.around,
        agentTitle: (name) => page.agents[name] ?? name,
        mayDrive: page.may.drive,
        contentUrl: (seq) => pathTo(`api/sessions/${page.session.id}/events/${seq}/content/`),
        locale: document.documentElement.lang,
      });
      runs.set(run.id, row);
      if (!element) log.append(row.article);
    }
    const ending = run.ended && !row.run.ended;
    let added = 0;
    const change = () => {
      added = row.paint(run, now);
    };
    if (ending) reading.steady(change);
    else change();
    return added;
  }

  function clearLog() {
    runs.clear();
    log.replaceChildren();
    byId("earlier")?.remove();
  }

  function paintHeader(state, now) {
    if (state.session && state.session.title && state.session.title !== title) setTitle(state.session.title);
    const run = latest;
    if (state.isGone) page.may.drive = page.may.stop = false;
    show(header.facts, run !== null && !state.isGone);
    if (run === null) {
      header.dot.className = "dot done";
      paintTitle("");
      return;
    }
    const word = runs.get(run.id)?.word() ?? status(run.status);
    const tone = dot(run.status);
    header.dot.className = `dot ${tone}`;
    say(header.state, word);
    mark(header.state, "tone", tone);
    const limit = run.limit || page.max_iterations;
    show(header.iteration, run.iteration > 0 && run.enable_reasoning);
    say(slot(header.iteration, "words"), iterationOf(run.iteration, limit));
    say(header.short, run.iteration > 0 && run.enable_reasoning ? (limit ? `${run.iteration}/${limit}` : String(run.iteration)) : "");
    show(header.short, header.short.textContent !== "");
    gauge(run, limit);
    const spent = run.usage && run.usage.input_tokens + run.usage.output_tokens > 0;
    say(header.tokens, spent ? usage(run.usage) : "");
    show(header.tokens, Boolean(spent));
    show(header.stop, !run.ended && page.may.stop && page.live);
    const stopping = run.status === "cancelling";
    header.stop.disabled = stopping;
    const wordOfStop = slot(header.stop, "word");
    wordOfStop.dataset.stop ??= wordOfStop.textContent;
    say(wordOfStop, stopping ? wordOfStop.dataset.stopping : wordOfStop.dataset.stop);
    for (const anchor of document.querySelectorAll('[data-slot="timeline"], [data-slot="events"]')) {
      anchor.href = pathTo(`runs/${run.id}/${anchor.dataset.slot === "events" ? "#events" : ""}`);
      anchor.hidden = false;
    }
    paintReceipt(run, now);
    tickHeader(now);
  }

  function gauge(run, limit) {
    const ticks = limit && limit <= GAUGE * 2 ? GAUGE : 0;
    show(header.gauge, ticks > 0);
    if (!ticks) return;
    const on = Math.ceil((run.iteration / limit) * ticks);
    const key = `${on}/${run.ended}`;
    if (header.gauge.dataset.key === key) return;
    header.gauge.dataset.key = key;
    header.gauge.replaceChildren(
      ...Array.from({ length: ticks }, (_, index) => {
        const tick = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        tick.setAttribute("x", String(index * 3));
        tick.setAttribute("width", "2");
        tick.setAttribute("height", "8");
        if (index < on) tick.setAttribute("class", index === on - 1 && !run.ended ? "now" : "on");
        return tick;
      }),
    );
  }

  function tickHeader(now) {
    const run = latest;
    if (run === null) return;
    let told = roughly(run.duration_ms);
    if (!run.ended) told = now === null || run.started_at === null ? "" : clock((now - run.started_at) * 1000);
    say(header.clock, told);
    paintTitle(told);
  }

  function paintTitle(time) {
    const name = title || SENTENCES.newSession;
    const run = latest;
    const live = run !== null && !run.ended;
    const text = live ? `● ${time} · ${header.state.textContent} · ${name}` : name;
    const whole = visible(`${text} · Thinkaloud`);
    if (document.title !== whole) document.title = whole;
    const faces = header.favicon.dataset;
    const href = faces[run === null ? "done" : dot(run.status)] ?? faces.done;
    if (href && header.favicon.getAttribute("href") !== href) header.favicon.setAttribute("href", href);
  }

  function setTitle(next) {
    title = next;
    say(header.title, next);
    paintTitle(header.clock.textContent);
  }

  /** Stop's receipt: who asked, and what has ended since, as it becomes true. */
  function paintReceipt(run, now) {
    if (run.status !== "cancelling" || !act.stopAsked(run.id)) {
      receipt?.element.remove();
      receipt = null;
      return;
    }
    if (receipt?.run !== run.id) {
      receipt?.element.remove();
      receipt = { run: run.id, element: clone("receipt"), since: now, at: run.items.length, grew: run.growth !== null };
      runs.get(run.id).article.append(receipt.element);
    }
    const lines = [["check", SENTENCES.stopRequested(act.stopAsked(run.id))]];
    if (receipt.grew && run.growth === null) lines.push(["check", SENTENCES.modelClosed]);
    for (const item of run.items.slice(Math.max(0, receipt.at - 1))) {
      for (const call of item.calls) {
        if (call.result === null) lines.push(["queue", SENTENCES.ending(call.name)]);
        else if (call.result.at >= (receipt.since ?? 0)) lines.push(["check", SENTENCES.toolEnded(call.name)]);
      }
    }
    const key = JSON.stringify(lines);
    if (receipt.key === key) return;
    receipt.key = key;
    slot(receipt.element, "lines").replaceChildren(
      ...lines.map(([symbol, text]) => {
        const line = clone("receipt-line");
        setIcon(slot(line, "icon"), symbol);
        say(slot(line, "text"), text);
        line.classList.toggle("wait", symbol === "queue");
        return line;
      }),
    );
  }

  function paintPeople(people) {
    const known = people.slice(0, people.length > PEOPLE ? PEOPLE - 1 : PEOPLE);
    header.people.replaceChildren(
      ...known.map(({ user, role, sockets }) => {
        const face = make("span", initials(user), `ava ${tint(user)}${role === "owner" || role === "driver" ? " drives" : ""}`);
        face.title = sockets > 1 ? `${user} · ${role} · ${sockets}` : `${user} · ${role}`;
        return face;
      }),
      ...(people.length > known.length ? [make("span", `+${people.length - known.length}`, "ava")] : []),
    );
    const title_ = people.map(({ user, role }) => `${user} (${role})`).join(", ");
    header.people.title = title_;
    show(header.people, people.length > 0);
  }

  /** What waits: messages of this browser that are not accepted yet, and the session's line. */
  function paintWaiting(state, unsent, hasRoom) {
    const place = byId("waiting");
    if (!place) return;
    const inLine = new Set(state.queue.map((item) => item.client_message_id));
    const rows = [
      ...state.queue.map((item, index) => ({
        key: item.run_id,
        text: item.message,
        label: index || hasRoom ? SENTENCES.next : SENTENCES.waitsForRoom,
        user: item.user,
        run: item.run_id,
      })),
      ...unsent
        .filter((item) => !inLine.has(item.client_message_id))
        .map((item) => ({ key: item.client_message_id, text: item.message, label: item.label, error: item.error, message: item.client_message_id, isFixed: item.isOnItsWay })),
    ];
    const kept = new Map([...place.children].map((element) => [element.dataset.key, element]));
    const wanted = rows.map((row) => {
      const element = kept.get(row.key) ?? clone("waiting");
        element.dataset.key = row.key;
        mark(element, "run", row.run);
        mark(element, "message", row.message);
        element.classList.toggle("refusal", Boolean(row.error));
        element.classList.toggle("unsent", !row.run && !row.error);
        const shared = row.user && row.user !== page.name ? `${row.label} · ${row.user}` : row.label;
        say(slot(element, "label"), shared);
        say(slot(element, "text"), row.error ? `${row.error.message} — ${row.text}` : row.text);
        slot(element, "text").title = visible(row.text);
        for (const button of element.querySelectorAll("button")) button.hidden = row.isFixed || (Boolean(row.run) && !page.may.drive);
        return element;
      });
    // What stays is not touched: it may have focus.
    for (const element of kept.values()) if (!wanted.includes(element)) element.remove();
    wanted.forEach((element, index) => place.children[index] === element || place.insertBefore(element, place.children[index] ?? null));
  }

  byId("waiting")?.addEventListener("click", (event) => {
    const button = event.target.closest("[data-action]");
    const row = button?.closest(".queued");
    if (!row) return;
    const text = slot(row, "text").title;
    const edits = button.dataset.action === "edit-waiting";
    if (row.dataset.run) act.removeQueued(row.dataset.run, edits ? text : null);
    else act.removeUnsent(row.dataset.message, edits ? text : null);
  });

  header.stop.addEventListener("click", () => {
    if (latest && !latest.ended) act.stop(latest.id, painted?.people ?? []);
  });

  /** The connection's chip and the sentence behind it. */
  function paintLink(state) {
    link = state;
    const said = connection(state);
    const tone = said.tone;
    header.chip.className = `chip ${tone}`;
    mark(header.chip, "state", state.word);
    const symbol = { wait: "refresh", fail: "offline" }[tone];
    const first = header.chip.firstElementChild;
    if (symbol) {
      const svg = first.matches("svg") ? first : clone("copy").querySelector("svg");
      svg.setAttribute("class", "i");
      setIcon(svg, symbol);
      if (svg !== first) first.replaceWith(svg);
    } else {
      const shape = first.matches(".dot") ? first : make("span");
      shape.className = `dot ${state.word === "live" ? "live" : state.word === "catching_up" ? "queue" : "done"}`;
      if (shape !== first) first.replaceWith(shape);
    }
    const label = header.chip.querySelector(".lbl");
    const text = said.sub ? `${said.label} · ${said.sub}` : said.label;
    if (label.dataset.text !== text) {
      label.dataset.text = text;
      label.replaceChildren(`${said.label} `, ...(said.sub ? [make("span", `· ${said.sub}`, "sub num")] : []));
    }
    header.chip.title = said.more;
    say(header.words, said.more);
  }

  return {
    paint,
    paintLink,
    notice,
    closeNotice,
    setTitle,
    reading,
    get title() {
      return title;
    },
    /** Twice a second: clocks. `now` is the server's time, or null while it is not known. */
    tick(now) {
      if (latest === null || latest.ended) return;
      tickHeader(now);
      runs.get(latest.id)?.tick(now);
      if (receipt) say(slot(receipt.element, "time"), receipt.since === null ? "" : `${Math.max(0, now - receipt.since).toFixed(1)} s`);
    },
    get link() {
      return link;
    },
  };
}

/** Which outlines and steps the reader has opened or closed: kept for good, the latest thousand. */
function createChoices(storage, page) {
  const key = `thinkaloud.open.${page.user}.${page.session.id}`;
  let kept = {};
  try {
    kept = JSON.parse(storage?.getItem(key) ?? "{}");
  } catch {
    kept = {};
  }
  const set = (name, isOpen) => {
    delete kept[name];
    kept[name] = isOpen;
    const names = Object.keys(kept);
    for (const old of names.slice(0, Math.max(0, names.length - 1000))) delete kept[old];
    try {
      storage?.setItem(key, JSON.stringify(kept));
    } catch {
      // Not kept over a reload, then.
    }
  };
  return {
    outline: (run) => kept[`r${run}`] ?? null,
    setOutline: (run, isOpen) => set(`r${run}`, isOpen),
    step: (seq) => kept[`s${seq}`],
    setStep: (seq, isOpen) => seq && set(`s${seq}`, isOpen),
  };
}

/** A page of ours as a document of its own: nothing in it runs or loads. */
function fetchPage(href) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", href);
    request.responseType = "document";
    request.onload = () => (request.status === 200 && request.response ? resolve(request.response) : reject(new Error(String(request.status))));
    request.onerror = () => reject(new Error("network"));
    request.send();
  });
}
