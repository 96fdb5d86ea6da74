/**
 * The conversation's page: connection → state → view, and the reader's actions.
 */

import { byId } from "../lib/dom.js";
import { errorText } from "../lib/gettext.js";
import { createOrder } from "../lib/in-order.js";
import { steadyNow } from "../lib/steady-time.js";
import { localStore, tabStore } from "../lib/storage.js";
import { createDraft } from "../state/drafts.js";
import { joined } from "../state/humanize.js";
import { waitsFor } from "../state/figures.js";
import { dot, status } from "../state/run-status.js";
import { SENTENCES } from "../state/messages.js";
import { abandoned, current, initial, reduce, stopping } from "../state/transcript.js";
import { focusForm } from "../run/decision-form.js";
import { createOutbox } from "../transport/outbox.js";
import { attachmentsOf } from "../view/attachments.js";
import { createComposer } from "../view/composer.js";
import { createView } from "../view/conversation.js";
import { receive as receiveNotification } from "../view/notify.js";
import { createBeside } from "./beside.js";
import { createCommands } from "./commands.js";
import { Connection } from "./connection.js";
import { onKey } from "./keys.js";
import { Outgoing } from "./outgoing.js";
import { createServerClock } from "./server-clock.js";
import { onRefresh, refresh, showCurrent } from "./session-list.js";
import { api } from "./shell.js";
import { Steps } from "./steps.js";

/** @import { FileData, Frame, Page, Run, Way } from "../state/types.js" */

const TICK_EVERY = 500;
/** Steps in which people are asked, or say something. */
const PEOPLE = ["approval_request", "question", "approval", "answer"];
/** Milliseconds after which a queue that does not move, with no run before it, is shown as waiting for capacity. */
const NO_ROOM = 10_000;

/** @type {Page} */
const page = JSON.parse(byId("page-state").textContent ?? "");
const storage = localStore();
const session = page.session.id;
const clock = createServerClock(page.now);
const choosing = createOrder();

let state = initial(page);
let isScheduled = false;
let hasUnsentChanged = true;
/** Since when the queue has not moved, with no run before it. @type {number|null} */
let standsSince = null;

// ---- parts ----

const connection = new Connection({
  page,
  api,
  storage,
  cursor: () => ({ seq: state.seq, id: state.id }),
  title: () => view.title,
  onFrame: receive,
  onLink: linked,
});
/** @param {string} text @param {FileData[]} [files] */
const giveBack = (text, files) => composer?.giveBack(text, files);
const outgoing = new Outgoing({
  outbox: createOutbox({ storage, user: page.user, session }),
  connection,
  hasJoined: () => state.joined,
  giveBack,
  onChange: unsentChanged,
});
const commands = createCommands({ me: page.name, session, api, connection, onStopping: showStopping, giveBack });
const view = createView({
  page,
  storage,
  fetchContent: (seq) => api.content(session, seq),
  act: {
    stop: (run) => void commands.stop(run),
    stopRequestedBy: commands.stopRequestedBy,
    continueRun(run, onFailed) {
      void commands.continueRun(run, onFailed);
      view.scroll.toEnd();
    },
    removeQueued: (run, text) => void commands.removeQueued(run, text),
    takeBackWord: (id, text) => void commands.takeBackWord(id, text),
    removeUnsent: (message, text) => outgoing.remove(message, text),
    offer: (text) => composer?.offer(text),
  },
});
/** @type {HTMLFormElement|null} */
const form = /** @type {any} */ (document.getElementById("composer"));
const composer =
  form === null
    ? null
    : createComposer({
        form,
        openDraft: (hooks) => createDraft({ storage, tab: tabStore(), user: page.user, session, ...hooks }),
        most: page.max_chars,
        attachments: attachmentsOf(form, page),
        onSend: send,
        onTakeBack: takeBack,
        onChoose: (choice) => void keepChoice(choice),
      });

const beside = createBeside({
  page,
  api,
  send: (type, payload) => connection.isOpen && connection.send(type, payload),
  onRefused: (title) => view.notice("not-noted", { title, tone: "wait", icon: "warn" }),
  onPassed: () => view.closeNotice("not-noted"),
  onReading: view.setReading,
});

// ---- painting: once per frame, however much has come ----

function repaint() {
  if (isScheduled) return;
  isScheduled = true;
  // A hidden page gets no animation frames; its title still shows the run's status.
  if (document.visibilityState === "visible") requestAnimationFrame(paint);
  else setTimeout(paint, 250);
}

function paint() {
  isScheduled = false;
  const unsent = hasUnsentChanged || connection.link.word !== "live" ? outgoing.shown : null;
  view.paint(state, { now: clock.now(), unsent, isMoving: !standsStill() });
  hasUnsentChanged = false;
  const run = current(state);
  const isAtWork = Boolean(run && !run.ended && run.status !== "queued");
  composer?.setBusy(Boolean(run && !run.ended) || state.queue.length > 0, isAtWork);
  if (run) showInList(run);
}

/**
 * Show the run's status in the session's row, as the page's head does.
 *
 * @param {Run} run
 */
function showInList(run) {
  const waits = waitsFor(run) !== "" && run.status === "running";
  const isLive = !run.ended && !waits;
  const shown = dot(waits ? "waiting" : run.status);
  const word = run.status === "completed" ? "" : waits ? byId("run-state").textContent : status(run.status);
  showCurrent({
    dot: shown,
    word: isLive ? joined(byId("run-state").textContent, byId("clock").textContent) : (word ?? ""),
    tone: `t-${shown}`,
    agent: isLive ? "" : (page.agents[page.session.agent] ?? page.session.agent),
    isLive,
  });
}

/** Whether messages are queued and nothing runs: the user's runs are at their limit, or no worker is available. */
function standsStill() {
  const run = current(state);
  if (!state.queue.length || (run && !run.ended)) standsSince = null;
  else standsSince ??= steadyNow();
  return standsSince !== null && steadyNow() - standsSince > NO_ROOM;
}

function unsentChanged() {
  hasUnsentChanged = true;
  paintConnection();
  repaint();
}

function paintConnection() {
  const { link } = connection;
  const seconds = link.until ? Math.max(0, Math.ceil((link.until - steadyNow()) / 1000)) : (link.seconds ?? 0);
  view.paintConnection({ ...link, seconds, seq: state.seq, unsent: outgoing.shown.filter((item) => !item.error).length });
}

/** @param {import("../state/types.js").Link} link */
function linked(link) {
  outgoing.linked(link);
  if (link.word === "gone") {
    state = abandoned(state);
    void refresh();
  }
  unsentChanged();
}

// ---- frames ----

/** The handlers of frames that are not part of the conversation's state. @type {Record<string, (data: any) => void>} */
const receivers = {
  accepted({ client_message_id: id }) {
    commands.accepted(id);
    view.closeNotice("refused");
    outgoing.accepted(id);
    void refresh();
  },
  unsent: () => outgoing.again(),
  announcement({ message, level }) {
    if (!message) {
      view.closeNotice("announcement");
      return;
    }
    const tone = { warning: "wait", error: "fail" }[/** @type {"warning"|"error"} */ (level)] ?? "";
    // What operators say later is about what is so now.
    view.notice("announcement", { title: SENTENCES.operators, text: message, tone });
  },
  notification: receiveNotification,
  ...beside.receivers,
  /** About something this page has sent, or about the connection. */
  error(data) {
    const error = { ...data, message: errorText(data) };
    if (outgoing.refused(error)) return;
    commands.refused(error.code, error.client_message_id);
    if (error.code !== "nothing_to_cancel") view.notice("refused", { title: error.message, tone: "wait", icon: "warn" });
  },
};

/** @param {Frame} frame */
function receive(frame) {
  const receiver = frame.type === "error" && "seq" in frame ? undefined : receivers[frame.type];
  if (receiver) {
    receiver(frame.data);
    return;
  }
  const { timestamp } = /** @type {{timestamp?: number}} */ (frame.data ?? {});
  if (timestamp && (frame.type === "pong" || connection.link.word === "live")) clock.update(timestamp);
  const before = state;
  state = reduce(state, frame);
  if (frame.type === "session") hasJoined(frame.data);
  if (frame.type === "reasoning_start" || frame.type === "reasoning_complete") runChanged(frame);
  // When it begins or ceases to wait for people, the list shows that.
  if ((frame.type === "reasoning_step" || frame.type === "child_step") && PEOPLE.includes(frame.data.type)) void refresh();
  if (state.gap && !before.gap) connection.resume();
  if (state !== before) repaint();
  if ("seq" in frame) beside.stepsChanged();
}

/** @param {{title: string, role: string, notes?: import("../protocol.js").NotesData}} data */
function hasJoined(data) {
  if (data.title) view.setTitle(data.title);
  beside.joined(data);
  if (data.role !== page.session.role) {
    // The page was rendered for another role; what is typed in its box is stored on this device.
    location.reload();
    return;
  }
  outgoing.flush();
}

/** @param {Frame} frame */
function runChanged(frame) {
  if (frame.type === "reasoning_complete") {
    view.closeNotice("refused");
    commands.ended(frame.run_id ?? "", frame.data.status, state.runs[frame.run_id ?? ""]?.files ?? []);
  }
  hasUnsentChanged = true;
  void refresh();
}

// ---- what the reader asks for ----

/** @param {{message: string, files: FileData[], agent_name: string, enable_reasoning: boolean, way?: Way}} message */
function send(message) {
  if (connection.link.word === "gone") {
    composer?.refuse(SENTENCES.gone[0]);
    return;
  }
  outgoing.send(message);
  composer?.clear();
  view.scroll.toEnd();
}

/** ↑ in an empty box: take back what was refused or is not sent yet, else the last queued message. Returns whether there is one. */
function takeBack() {
  const last = outgoing.last;
  if (last?.tried && !last.error) return false;
  const mine = state.queue.filter((item) => item.user === page.name).at(-1);
  if (last) outgoing.remove(last.client_message_id, last.message);
  else if (mine) void commands.removeQueued(mine.run_id, mine.message);
  return Boolean(last ?? mine);
}

/**
 * @param {string} run
 * @param {boolean} isStopping
 */
function showStopping(run, isStopping) {
  state = isStopping ? stopping(state, run) : { ...state, runs: { ...state.runs, [run]: { ...state.runs[run], status: "running" } } };
  repaint();
}

/**
 * The agent and the switch are stored with the session, and are the same on its next page. What is chosen meanwhile is stored after that.
 *
 * @param {{agent_name: string, enable_reasoning: boolean}} choice
 */
async function keepChoice(choice) {
  if (page.session.role !== "owner") return;
  try {
    await choosing(() => api.change(session, choice));
    page.session.agent = choice.agent_name;
    view.closeNotice("not-kept");
  } catch {
    view.notice("not-kept", { title: SENTENCES.choiceNotKept, tone: "wait", icon: "warn", passing: true });
  }
}

// ---- what happens around the page ----

for (const sight of ["visibilitychange", "focus"]) {
  addEventListener(
    sight,
    () => {
      if (document.visibilityState !== "visible") return;
      connection.nudge();
      repaint();
    },
    true,
  );
}

setInterval(() => {
  view.tick(clock.now());
  beside.tick();
  if (connection.link.word === "waiting" || !outgoing.isEmpty) paintConnection();
  const run = runAtWork();
  if (run) showInList(run);
  if (standsStill()) unsentChanged();
}, TICK_EVERY);

onRefresh((titles) => titles[session] && view.setTitle(titles[session]));

function runAtWork() {
  const run = state.runs[state.live?.id ?? ""];
  return run && !run.ended ? run : null;
}

onKey("w", () => {
  /** @type {HTMLElement|null} */
  const place = document.querySelector('#log [data-slot="form"]:has(form)');
  if (place === null) return;
  place.scrollIntoView({ block: "nearest" });
  focusForm(place);
});
onKey("End", () => view.scroll.toEnd());
onKey("Escape", () => composer?.focus());
/** No single key stops a run: a key that is meant as text must not end it. */
document.addEventListener("keydown", (event) => {
  if (event.key !== "." || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
  const run = runAtWork();
  if (!run || !page.may.stop) return;
  event.preventDefault();
  const others = state.people.filter(({ user }) => user !== page.name).length;
  if (others === 0 || confirm(SENTENCES.confirmStop(others))) void commands.stop(run.id);
});
document.querySelector('[data-action="fold-all"]')?.addEventListener("click", (event) => {
  if (event.target instanceof Element) /** @type {HTMLElement|null} */ (event.target.closest("[popover]"))?.hidePopover();
  // If the focus is within one, it moves to its summary.
  /** @type {NodeListOf<HTMLDetailsElement>} */
  const outlines = document.querySelectorAll("#log .outline[open]");
  for (const outline of outlines) outline.open = false;
});
const steps = new Steps({ onGo: view.scroll.leave, first: page.first, last: () => state.head });

// ---- begin ----

// Before any frame: the server's markup is taken as the view of the state that it was rendered from.
paint();
if (page.live) {
  connection.start();
  if (!/^#(s\d+|run-)/u.test(location.hash)) view.scroll.toEnd();
}
steps.toHash();
if (!matchMedia("(pointer: coarse)").matches && !location.hash) composer?.focus();
// If something fails before this line, the page reports that by itself.
byId("not-started").remove();
