/**
 * The scripts' sentences, except those that are formatted (humanize.js): the connection's chip, notices, labels.
 */

import { gettext, ngettext, pgettext } from "../lib/gettext.js";

/** @import { Link } from "./types.js" */

/**
 * What the connection's chip shows: a word, a remark, and the longer sentence behind it.
 * @param {Link} state
 */
export function connection(state) {
  const unsent = state.unsent ? ngettext("%(n)d unsent", "%(n)d unsent", state.unsent) : "";
  switch (state.word) {
    case "live":
      return {
        label: pgettext("connection", "Live"),
        sub: unsent || gettext("caught up"),
        tone: "live",
        more: gettext("Caught up · #%(seq)s, 0 missing.", { seq: state.seq }),
      };
    case "catching_up":
      return {
        label: gettext("Catching up"),
        sub: gettext("%(n)s of %(total)s", { n: state.done, total: state.total }),
        tone: "",
        more: gettext("Steps that happened meanwhile are on their way."),
      };
    case "connecting":
      return { label: gettext("Connecting"), sub: unsent, tone: "", more: gettext("Opening the live connection.") };
    case "waiting":
      return {
        label: (state.seconds ?? 0) > 0 ? gettext("Reconnecting in %(n)s s", { n: state.seconds }) : gettext("Reconnecting"),
        sub: unsent,
        tone: "wait",
        more: gettext("The connection broke. Runs go on, and nothing is lost."),
      };
    case "offline":
      return {
        label: gettext("Offline"),
        sub: unsent,
        tone: "fail",
        more: gettext("This device has no network. What you send is kept and goes out once, when it is back."),
      };
    case "polling":
      return {
        label: gettext("Over the API"),
        sub: unsent || gettext("checks every %(n)s s", { n: state.seconds }),
        tone: "wait",
        more: gettext("This page asks the server for news instead of receiving them. Everything else works."),
      };
    case "logged_out":
      return { label: gettext("Logged out"), sub: unsent, tone: "fail", more: gettext("Log in again to go on.") };
    case "gone":
      return {
        label: gettext("Not available"),
        sub: "",
        tone: "fail",
        more: gettext("This session is gone, or not yours any more."),
      };
    default:
      return { label: gettext("Not connected"), sub: unsent, tone: "", more: gettext("Not connected yet.") };
  }
}

/**
 * The name of a user's role in a session.
 * @param {string} role
 */
export function roleName(role) {
  switch (role) {
    case "owner":
      return gettext("owner");
    case "driver":
      return pgettext("a role", "may ask");
    case "watcher":
      return pgettext("a role", "watches");
    case "staff":
      return pgettext("a role", "staff");
    default:
      return role;
  }
}

/** The page's own sentences, for what the server has none. */
export const SENTENCES = Object.freeze({
  blocked: [
    gettext("Live connection blocked: refreshing over the API."),
    gettext("Everything works, only a little later."),
  ],
  tryLive: gettext("Try live again"),
  otherUser: [
    gettext("Somebody else has logged in."),
    gettext("What you typed here is kept on this device until you log in again."),
  ],
  toTheirs: gettext("Go to their sessions"),
  loggedOut: [gettext("You are logged out."), gettext("Your drafts and unsent messages are kept on this device.")],
  logIn: gettext("Log in"),
  gone: [
    gettext("This session is not available any more."),
    gettext("It was deleted, or it is no longer shared with you."),
  ],
  toStart: gettext("Start page"),
  farTooLong: gettext("This message is too long to be sent at all."),
  choiceNotKept: gettext("The choice holds for this page; it could not be kept with the session."),
  /**
   * @param {number} number
   * @param {boolean} isElsewhere
   */
  noStep: (number, isElsewhere) =>
    isElsewhere
      ? gettext("Step %(n)s has no row of its own.", { n: number })
      : gettext("There is no step %(n)s in this session.", { n: number }),
  noRun: gettext("That run is not on this page."),
  blankTitle: gettext("A title needs at least one letter, digit or sign that can be seen."),
  notArchived: gettext("That could not be changed. Try again."),
  tooMany: [gettext("Too many connections."), gettext("Close some of your other tabs; this one tries again.")],
  operators: gettext("From the operators:"),
  /**
   * @param {string} name
   * @param {number|null} n
   */
  wordRead: (name, n) => gettext("%(name)s · read by the model at step %(n)s", { name: name || gettext("Somebody"), n: n ?? "" }),
  wordsOnly: gettext("Files cannot go into a run at work. Send them after it."),
  waitsForModel: gettext("Waiting for the next step"),
  tooLate: gettext("Too late: queued"),
  sending: gettext("Sending"),
  notSent: gettext("Not sent yet"),
  refused: gettext("Not sent"),
  next: pgettext("a queued message", "Next"),
  waitsForRoom: gettext("Waiting for a free slot"),
  /**
   * @param {number} length
   * @param {number} most
   */
  tooLong: (length, most) =>
    gettext("%(n)s characters; at most %(most)s are allowed.", {
      n: length.toLocaleString("en"),
      most: most.toLocaleString("en"),
    }),
  /** @param {number} most */
  tooManyFiles: (most) => gettext("A message may have %(n)d files.", { n: most }),
  checkingFile: gettext("Checking"),
  unseenPicture: gettext("The model cannot see pictures."),
  fileNotSent: gettext("Not sent: the server cannot be reached."),
  fileNotPassed: gettext("Not sent: the proxy in front of the server takes no file this large. Its operator can allow more."),
  /** @param {string} name */
  removeFile: (name) => gettext("Remove “%(name)s”", { name }),
  removeBadFiles: gettext("Remove the files that could not be sent first."),
  filesUnderWay: gettext("The files are still being sent. One moment."),
  offlineStart: gettext("The server cannot be reached. Your text is kept here."),
  failedRequest: gettext("That did not work. Try again."),
  offlineStop: gettext("Stop could not be sent: the server cannot be reached."),
  copied: gettext("Copied"),
  notCopied: gettext("That could not be copied. Select the text and copy it yourself."),
  nothingToCopy: gettext("There is nothing to copy."),
  noNotifications: Object.freeze({
    insecure: gettext("Browsers only do that for pages that are opened over https, or on the server's own machine."),
    unsupported: gettext("This browser cannot do that."),
    denied: gettext("This browser was told not to, for this site. Its settings can allow it again."),
  }),
  /** @param {number} number */
  newSteps: (number) => ngettext("%(n)d new", "%(n)d new", number),
  /** @param {string} name */
  stopRequested: (name) => gettext("Requested by %(name)s", { name }),
  modelClosed: gettext("Model connection closed"),
  /** @param {string} name */
  toolEnded: (name) => gettext("%(tool)s ended", { tool: name }),
  /** @param {string} name */
  ending: (name) => gettext("Ending %(tool)s", { tool: name }),
  wholeFailed: gettext("The whole text could not be fetched."),
  loadingWhole: gettext("Fetching …"),
  /** @param {number} lines */
  allLines: (lines) => ngettext("Show the whole line", "Show all %(n)d lines", lines),
  notSaved: gettext("This browser keeps nothing for this site: a message that is not sent yet is lost on reload."),
  /** @param {number} others */
  confirmStop: (others) =>
    ngettext("%(n)d other person watches this run. Stop it?", "%(n)d other people watch this run. Stop it?", others),
  newSession: gettext("New session"),
  noSecrets: gettext("Nothing here looks like a secret."),
  /** @param {number} number */
  hidden: (number) => ngettext("%(n)d place will be hidden.", "%(n)d places will be hidden.", number),
  /** @param {number} number */
  notHidden: (number) =>
    ngettext("%(n)d place that looks like a secret will be in the file.", "%(n)d places that look like secrets will be in the file.", number),
  /** @param {number} seq */
  stepNumber: (seq) => gettext("Step %(n)d", { n: seq }),
  noJson: gettext("This file is no JSON."),
  importing: gettext("Reading the file …"),
  largeDocument: gettext("The document is too large: it may have 20 MiB."),
  asksYou: gettext("An agent asks you something."),
  /** @param {string} tool */
  needsYou: (tool) => gettext("%(tool)s waits for your decision.", { tool }),
  openRun: pgettext("to a run", "Open"),
  openSchedules: gettext("Schedules"),
  thinking: gettext("Thinking"),
  answering: gettext("Answering"),
  answer: gettext("Answer"),
  toolCall: gettext("Tool call"),
});
