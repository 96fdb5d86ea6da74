/**
 * The conversation's page put together: transport → transcript → view, and what a reader's hand asks for.
 */

import { pathTo } from "../transport/addresses.js";
import { ApiError, createPolling } from "../transport/api.js";
import { createComposer } from "../view/composer.js";
import { receive as notified } from "../view/notify.js";
import { createDraft } from "../state/drafts.js";
import { createOutbox, localStore, tabStore } from "../transport/outbox.js";
import { newId } from "../lib/platform.js";
import { api, onKey, onRefresh, refresh, tellCurrent } from "./shell.js";
import { CLOSE } from "../protocol.js";
import { createSocket } from "../transport/socket.js";
import { createSteps } from "./steps.js";
import { abandoned, current, initial, reduce, stopping } from "../state/transcript.js";
import { createView } from "../view/conversation.js";
import { SENTENCES, dot, joined, status } from "../state/humanize.js";

const TICK_EVERY = 500;
/** A message that is accepted this soon never shows as being sent. */
const SOON = 400;
const PROBE_AGAIN = 5_000;
/** A line that nothing stands before and that does not move for so long is told to be waiting for room. */
const NO_ROOM = 10_000;
/** The pause before a message goes out again that the server could not take, or that another page has left unsent. */
const SEND_AGAIN = 2_000;
/** A message that has no answer for so long makes the page look whether the line lives. */
const ANSWER_WITHIN = 5_000;

const page = JSON.parse(document.getElementById("page-state").textContent);
const storage = localStore();
const session = page.session.id;

let state = initial(page);
let transport = null;
let isSocket = true;
let link = { word: "idle" };
let scheduled = false;
let waitingChanged = true;
/** Since when the line has stood still with no run at work before it. */
let standsSince = null;
/** Runs that this page has asked to stop, and who asked. */
const stops = new Map();
/** Messages that are being taken out of the line to be written anew, by their runs. */
const takingBack = new Map();
/** What a page that asked to continue does when it is refused. */
const continuing = new Map();

// ---- the server's time: the highest difference seen is the one with the least delay in it ----

let offset = page.now * 1000 - Date.now();
const now = () => (Date.now() + offset) / 1000;

function heardTime(timestamp) {
  offset = Math.max(offset, timestamp * 1000 - Date.now());
}

// ---- parts ----

const outbox = createOutbox({ storage, user: page.user, session });

const view = createView({
  page,
  storage,
  fetchContent: (seq) => api.content(session, seq),
  act: {
    stop,
    goOn,
    removeQueued,
    removeUnsent,
    stopAsked: (run) => stops.get(run) ?? null,
    starter: (text) => composer?.offer(text),
  },
});

const form = document.getElementById("composer");
const composer =
  form === null
    ? null
    : createComposer({
        form,
        openDraft: (hooks) => createDraft({ storage, tab: tabStore(), user: page.user, session, ...hooks }),
        most: page.max_chars,
        onSend: send,
        onTakeBack: takeBack,
        onChoose: keepChoice,
      });

// ---- painting: once per frame, however much has come ----

function repaint() {
  if (scheduled) return;
  scheduled = true;
  // A page out of sight gets no frames; its title still tells.
  if (document.visibilityState === "visible") requestAnimationFrame(paint);
  else setTimeout(paint, 250);
}

function paint() {
  scheduled = false;
  const waiting = waitingChanged || link.word !== "live" ? unsent() : undefined;
  view.paint(state, { now: now(), waiting, hasRoom: !standsStill() });
  waitingChanged = false;
  const run = current(state);
  composer?.busy(Boolean(run && !run.ended) || state.queue.length > 0);
  if (run) tellRun(run);
}

/** The session's line in the list says of the run what the page's head says. */
function tellRun(run) {
  const isLive = !run.ended;
  tellCurrent({
    dot: dot(run.status),
    word: isLive
      ? joined(document.getElementById("run-state").textContent, document.getElementById("clock").textContent)
      : run.status === "completed" ? "" : status(run.status),
    tone: `t-${dot(run.status)}`,
    agent: isLive ? "" : (page.agents[page.session.agent] ?? page.session.agent),
    isLive,
  });
}

/** What to show of the outbox: not what is on its way and will be accepted in the next instant. */
function unsent() {
  const isOpen = Boolean(transport?.isOpen);
  return outbox
    .items()
    .filter((item) => item.error || !isOpen || Date.now() - item.at > SOON)
    .map((item) => ({
      ...item,
      label: item.error ? SENTENCES.refused : isOpen ? SENTENCES.sending : SENTENCES.notSent,
      // One that may have been taken already can only be taken out of the line, once it is known to stand there.
      isOnItsWay: Boolean(item.tried && !item.error),
    }));
}

/** Whether messages are in line, nothing is at work, and still none is taken up: people have too much at work, or workers are away. */
function standsStill() {
  const run = current(state);
  if (!state.queue.length || (run && !run.ended)) standsSince = null;
  else standsSince ??= Date.now();
  return standsSince !== null && Date.now() - standsSince > NO_ROOM;
}

function waitingDiffers() {
  waitingChanged = true;
  paintLink();
  repaint();
}

// ---- frames ----

function receive(frame) {
  switch (frame.type) {
    case "accepted":
      outbox.remove(frame.data.client_message_id);
      continuing.delete(frame.data.client_message_id);
      view.closeNotice("refused");
      tellSaved();
      waitingDiffers();
      refresh();
      return;
    case "unsent":
      outbox.forgetSent();
      waitingDiffers();
      return;
    case "announcement":
      view.notice(`announcement-${frame.data.message}`, {
        title: SENTENCES.operators,
        text: frame.data.message,
        tone: { warning: "wait", error: "fail" }[frame.data.level] ?? "",
      });
      return;
    case "notification":
      notified(frame.data);
      return;
    case "pong":
      heardTime(frame.data.timestamp);
      break;
    case "error":
      if (!Number.isInteger(frame.seq)) {
        refused(frame.data);
        return;
      }
      break;
    default:
      if (link.word === "live" && frame.data?.timestamp) heardTime(frame.data.timestamp);
  }
  const before = state;
  state = reduce(state, frame);
  if (frame.type === "session") joined_(frame.data);
  if (frame.type === "reasoning_start" || frame.type === "reasoning_complete") changedRun(frame);
  if (state.gap && !before.gap) transport.resume();
  if (state !== before) repaint();
}

function joined_(data) {
  if (data.title) view.setTitle(data.title);
  page.may.drive = ["owner", "driver"].includes(data.role);
  flush();
}

function changedRun(frame) {
  if (frame.type === "reasoning_complete") {
    stops.delete(frame.run_id);
    view.closeNotice("refused");
    // Only what the log says is out of the line is given back: else it would be asked twice.
    const text = takingBack.get(frame.run_id);
    takingBack.delete(frame.run_id);
    if (text !== undefined && frame.data.status === "cancelled") composer?.giveBack(text);
  }
  waitingChanged = true;
  refresh();
}

/** An error that is about something this page has sent, or about the connection. */
function refused({ code, message, client_message_id: id }) {
  if (id && outbox.has(id)) {
    if (code === "storage") {
      // Whether it was taken is not known. Under the same name it is not taken twice.
      setTimeout(() => {
        outbox.forgetSending(id);
        flush();
      }, SEND_AGAIN);
    } else outbox.refuse(id, { code, message });
    waitingDiffers();
    return;
  }
  if (id && continuing.has(id)) {
    continuing.get(id)();
    continuing.delete(id);
  }
  if (code === "nothing_to_cancel") {
    stops.clear();
    return;
  }
  view.notice("refused", { title: message, tone: "wait", icon: "warn" });
}

// ---- sending ----

function send(message) {
  if (link.word === "gone") {
    composer.refuse(SENTENCES.gone[0]);
    return;
  }
  const { client_message_id: id } = outbox.add({ ...message, at: Date.now() });
  tellSaved();
  composer.clear();
  flush();
  waitingDiffers();
  setTimeout(waitingDiffers, SOON + 20);
  setTimeout(() => outbox.has(id) && transport?.nudge(), ANSWER_WITHIN);
  view.reading.toEnd();
}

function tellSaved() {
  if (outbox.isSaved) view.closeNotice("not-saved");
  else view.notice("not-saved", { title: SENTENCES.notSaved, tone: "wait", icon: "warn" });
}

function flush() {
  if (!transport?.isOpen && !(isSocket && state.joined && link.word !== "waiting")) return;
  for (const { client_message_id, message, agent_name, enable_reasoning } of outbox.unsent()) {
    outbox.markSent(client_message_id);
    if (transport.send("chat", { message, agent_name, enable_reasoning, client_message_id })) continue;
    outbox.forgetSending(client_message_id);
    return;
  }
}

/** ↑ in an empty box: what was refused or is not sent yet, else the last one in line. Returns whether there is one. */
function takeBack() {
  const last = outbox.items().at(-1);
  const mine = state.queue.filter((item) => item.user === page.name).at(-1);
  if (last?.tried && !last.error) return false;
  if (last) removeUnsent(last.client_message_id, last.message);
  else if (mine) removeQueued(mine.run_id, mine.message);
  return Boolean(last ?? mine);
}

/** Over the open line, else by a call of the API. */
async function command(type, payload, call) {
  if (transport?.isOpen && transport.send(type, payload)) return true;
  try {
    await call();
    return true;
  } catch (error) {
    view.notice("refused", {
      title: (error instanceof ApiError && error.message) || SENTENCES.offlineStop,
      tone: "wait",
      icon: "warn",
    });
    return false;
  }
}

async function stop(run) {
  stops.set(run, page.name);
  state = stopping(state, run);
  repaint();
  if (await command("cancel", { run_id: run }, () => api.cancel(run))) return;
  stops.delete(run);
  state = { ...state, runs: { ...state.runs, [run]: { ...state.runs[run], status: "running" } } };
  repaint();
}

async function goOn(run, failed) {
  const client_message_id = newId();
  continuing.set(client_message_id, failed);
  const payload = { run_id: run, client_message_id };
  if (!(await command("continue", payload, () => api.goOn(run, { client_message_id })))) failed();
  view.reading.toEnd();
}

async function removeQueued(run, text) {
  if (text !== null) takingBack.set(run, text);
  if (!(await command("cancel", { run_id: run }, () => api.cancel(run)))) takingBack.delete(run);
}

function removeUnsent(id, text) {
  const item = outbox.items().find((one) => one.client_message_id === id);
  // Another page may have sent it, or had it back, just now.
  if (!item || (item.tried && !item.error)) return;
  outbox.remove(id);
  waitingDiffers();
  if (text !== null) composer?.giveBack(text);
}

/** The agent and the switch are the session's: whoever comes back finds them as they were. */
async function keepChoice(choice) {
  if (page.session.role !== "owner") return;
  try {
    await api.change(session, choice);
    page.session.agent = choice.agent_name;
    view.closeNotice("not-kept");
  } catch {
    view.notice("not-kept", { title: SENTENCES.choiceNotKept, tone: "wait", icon: "warn", passing: true });
  }
}

// ---- the connection ----

const cursor = () => ({ seq: state.seq, id: state.id });

function socketUrl({ seq, id }) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const query = new URLSearchParams({ last_seq: String(seq), ...(id ? { last_id: id } : {}) });
  return `${scheme}//${location.host}${pathTo(`ws/chat/${session}/?${query}`)}`;
}

function linked(next) {
  link = next;
  if (next.word === "waiting" || next.word === "connecting") outbox.forgetSent();
  if (next.word === "live" || next.word === "polling") {
    for (const kind of ["logged-out", "gone", "too-many", "refused"]) view.closeNotice(kind);
    if (next.word === "live") view.closeNotice("blocked");
    flush();
  }
  if (next.word === "waiting" && next.code === CLOSE.TOO_LARGE) refuseLongest();
  if (next.word === "waiting" && next.code === CLOSE.TOO_MANY) {
    const [title, text] = SENTENCES.tooMany;
    view.notice("too-many", { title, text, tone: "wait", icon: "warn" });
  }
  if (next.word === "logged_out") {
    const [title, text] = SENTENCES.loggedOut;
    const href = pathTo(`accounts/login/?next=${encodeURIComponent(location.pathname)}`);
    view.notice("logged-out", { title, text, tone: "fail", icon: "lock", link: { text: SENTENCES.logIn, href }, closable: false });
  }
  if (next.word === "gone") {
    const [title, text] = SENTENCES.gone;
    view.notice("gone", { title, text, tone: "fail", icon: "fail", link: { text: SENTENCES.toStart, href: "/" }, closable: false });
    view.closeNotice("logged-out");
    state = abandoned(state);
    refresh();
    repaint();
  }
  if (next.word === "blocked") blocked();
  waitingDiffers();
}

/** The line was closed over a frame that is longer than any may be: that message would close the next one, too. */
function refuseLongest() {
  const tried = outbox.items().filter((item) => item.tried && !item.error);
  const longest = tried.sort((a, b) => b.message.length - a.message.length)[0];
  if (longest) outbox.refuse(longest.client_message_id, { code: "too_large", message: SENTENCES.farTooLong });
}

function paintLink() {
  const seconds = link.until ? Math.max(0, Math.ceil((link.until - Date.now()) / 1000)) : (link.seconds ?? 0);
  view.paintLink({ ...link, seconds, seq: state.seq, unsent: unsent().filter((item) => !item.error).length });
}

/** Live connections never opened. Where the API answers, the network is to blame; where it doesn't, the server is away. */
async function blocked() {
  try {
    await api.events(session, state.seq, 1);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) {
      linked({ word: "logged_out" });
      return;
    }
    linked({ word: "waiting", until: Date.now() + PROBE_AGAIN });
    setTimeout(() => isSocket && transport.again(), PROBE_AGAIN);
    return;
  }
  overApi(SENTENCES.blocked);
}

function overApi(words) {
  transport?.close();
  isSocket = false;
  transport = createPolling({
    api,
    session,
    cursor,
    page: () => ({ title: view.title, agent: page.session.agent, role: page.session.role }),
    onFrame: receive,
    onState: linked,
    isHidden: () => document.visibilityState === "hidden",
    isOnline: () => navigator.onLine,
  });
  transport.open();
  if (words) {
    view.notice("blocked", {
      title: words[0],
      text: words[1],
      icon: "offline",
      button: { text: SENTENCES.tryLive, run: goLive },
      closable: true,
    });
  }
  document.getElementById("over-api").checked = true;
}

function goLive() {
  transport?.close();
  view.closeNotice("blocked");
  isSocket = true;
  document.getElementById("over-api").checked = false;
  transport = createSocket({
    url: socketUrl,
    cursor,
    onFrame: receive,
    onState: linked,
    isOnline: () => navigator.onLine,
  });
  transport.open();
}

const choice = `thinkaloud.transport.${page.user}`;

document.getElementById("over-api").addEventListener("change", (event) => {
  const wanted = event.target.checked;
  try {
    if (wanted) storage?.setItem(choice, "api");
    else storage?.removeItem(choice);
  } catch {
    // Chosen for this page only.
  }
  if (wanted) overApi(null);
  else goLive();
});

addEventListener("online", () => transport?.nudge());
addEventListener("offline", () => transport?.offline());
for (const sight of ["visibilitychange", "focus"]) {
  addEventListener(
    sight,
    () => {
      if (document.visibilityState !== "visible") return;
      transport?.nudge();
      repaint();
    },
    true,
  );
}
addEventListener("beforeunload", (event) => !outbox.isSaved && event.preventDefault());
// A page put aside by the browser must not hold a dead line when it comes back.
addEventListener("pageshow", (event) => event.persisted && transport?.nudge());
addEventListener("storage", (event) => {
  if (!event.key?.startsWith("thinkaloud.outbox.")) return;
  waitingDiffers();
  // Its own page sends it, unless that is closed first.
  if (event.newValue) setTimeout(flush, SEND_AGAIN);
});

setInterval(() => {
  view.tick(now());
  if (link.word === "waiting" || outbox.items().length) paintLink();
  const run = state.runs[state.live?.id];
  if (run && !run.ended) tellRun(run);
  if (standsStill()) waitingDiffers();
}, TICK_EVERY);

onRefresh((titles) => titles[session] && view.setTitle(titles[session]));

// ---- keys ----

onKey("End", () => view.reading.toEnd());
onKey("Escape", () => composer?.focus());
/** No single key stops a run: what is meant as a word must not end it. */
document.addEventListener("keydown", (event) => {
  if (event.key !== "." || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
  const run = state.runs[state.live?.id];
  if (!run || run.ended || !page.may.stop) return;
  event.preventDefault();
  const others = state.people.filter(({ user }) => user !== page.name).length;
  if (others === 0 || confirm(SENTENCES.confirmStop(others))) stop(run.id);
});
document.querySelector('[data-action="fold-all"]')?.addEventListener("click", (event) => {
  event.target.closest("[popover]").hidePopover();
  // One that has focus within it hands it to its line.
  for (const outline of document.querySelectorAll("#log .outline[open]")) outline.open = false;
});

const { toHash } = createSteps({ onGo: () => view.reading.leave(), first: page.first, last: () => state.head });

// ---- begin ----

state.live && heardTime(page.now);
repaint();
if (page.live) {
  let wantsApi = false;
  try {
    wantsApi = storage?.getItem(choice) === "api";
  } catch {
    wantsApi = false;
  }
  if (wantsApi) overApi(null);
  else goLive();
  if (!/^#(s\d+|run-)/u.test(location.hash)) view.reading.toEnd();
}
toHash();
if (!matchMedia("(pointer: coarse)").matches && !location.hash) composer?.focus();
// Whatever fails before this is told by the page itself.
document.getElementById("not-started").remove();
