/**
 * The types that the page's scripts share, for the type checker only: nothing imports this file when a page runs.
 *
 * Times are the server's, in seconds; durations are milliseconds; `seq` numbers the session's stored events from 1.
 */

/**
 * What the connection passes on: frames, and reports of messages that could not be sent.
 *
 * @typedef {import("../protocol.js").Frame | { type: "unsent", data: { client_message_id?: string } }} Frame
 */

/** @typedef {import("../protocol.js").StoredFrame} StoredFrame */
/** @typedef {import("../protocol.js").Usage} Usage */
/** @typedef {import("../protocol.js").QueuedRun} QueuedMessage */
/** @typedef {import("../protocol.js").PendingWord} PendingWord */
/** @typedef {import("../protocol.js").Person} Person */
/** The call, and its run, that started a run within it. @typedef {import("../protocol.js").Parent} Parent */
/** @typedef {import("../protocol.js").FileData} FileData */

/**
 * A tool's result. `content` may be cut off; `content_length` is the length of the whole.
 *
 * @typedef {{
 *   seq: number|null, at: number, ok: boolean, content: string, duration_ms: number|null, truncated: boolean, content_length: number,
 *   files: FileData[],
 * }} CallResult
 */

/**
 * What a call waits for: a decision, or answers to its `fields`. After its `deadline` the decision is `unanswered`.
 *
 * @typedef {{ seq: number|null, at: number, deadline: number|null, unanswered: string, fields: Field[]|null, text: string }} Request
 */

/** @typedef {{ name: string, label: string, kind: string, options?: string[], required: boolean }} Field */

/**
 * The decision on a call, or the answers; `user` is null if its deadline has decided. `arguments` are null if they are unchanged.
 *
 * @typedef {{
 *   seq: number|null, at: number, decision: string, user: string|null, arguments: any, scope: string, reason: string,
 *   answers: Record<string, any>|null,
 * }} Decision
 */

/**
 * A tool call. `arguments` is null if the page was rendered without them: they are in the markup already. `within` is what the run that
 * it has started waits for.
 *
 * @typedef {{
 *   seq: number|null, step: number, at: number, call_id: string, name: string, arguments: any, result: CallResult|null,
 *   request: Request|null, decision: Decision|null, within: string,
 * }} Call
 */

/**
 * A row of a run's outline: a thought, or the tool calls of one turn.
 *
 * @typedef {{
 *   kind: "thought"|"calls"|"word", seq: number|null, step: number, at: number, iteration: number, text: string, duration_ms: number|null,
 *   partial: boolean, calls: Call[], isAnswer?: boolean, by: string,
 * }} Item
 */

/** @typedef {{ seq: number|null, step: number, at: number, text: string, duration_ms: number|null, partial: boolean }} Answer */

/**
 * The draft of the step that is being written. `attempt` counts how often the model has started it.
 *
 * @typedef {{ step: number, type: string, attempt: number, text: string, tool_name: string }} Growth
 */

/** @import { Parts } from "../lib/gettext.js" */

/** @typedef {{ steps: number, thoughts: number, tools: number, failed: number }} Counts */

/**
 * A run in the page's state. `outside` are the counts of its steps on earlier pages; `finished` is its last finished step; `waits` are the
 * periods in which it has waited for people, the last one without an end while it waits.
 *
 * @typedef {{
 *   id: string, status: string, ended: boolean, started_at: number|null, agent: string, model: string, message: string, files: FileData[],
 *   sent_along: import("../protocol.js").SentAlongData|null, user: string,
 *   enable_reasoning: boolean, continues: string|null, parent: Parent|null, iteration: number, limit: number, items: Item[], answer: Answer|null,
 *   error: (Parts & {message: string, code: string, id: string})|null, duration_ms: number|null, waited_ms: number|null, waits: number[][],
 *   usage: Usage|null, cancelled_by: string|null,
 *   removed: boolean, outside: Partial<Counts>, growth: Growth|null, finished: number,
 * }} Run
 */

/** @typedef {{ id: string, title: string, agent: string, role: string }} Session */

/**
 * The page's state of its session. `seq` and `id` are those of the page's last event, `head` is the number of the session's last event;
 * `gap` means that an event between was lost, and `resets` counts how often the state was rebuilt. `order` are the roots, `within` the runs
 * within them, each in the order of their start; `words` are the ids of all steering messages since the page was opened.
 *
 * @typedef {{
 *   session: Session|null, seq: number, id: string|null, head: number, joined: boolean, order: string[], within: string[], runs: Record<string, Run>,
 *   live: {id: string, status: string, started_at: number|null}|null, queue: QueuedMessage[], steering: PendingWord[], words: string[], people: Person[], gap: boolean,
 *   isGone: boolean, resets: number, context: {used: number, limit: number}|null,
 *   budget: {used: number, limit: number, unit: string}|null,
 * }} State
 */

/** Where a bar lies in its strip, in per cent, and its colour's name. @typedef {{ x: number, width: number, fill: string }} Bar */

/**
 * What the server has put into a conversation's page.
 *
 * @typedef {{
 *   session: Session, user: string, name: string, may: {drive: boolean, stop: boolean, note: boolean}, shows_reading: boolean, live: boolean, agents: Record<string, string>,
 *   max_iterations: number, max_chars: number, max_files: number, now: number, first: number, runs?: object[], cursor?: {seq: number, id: string|null},
 *   run?: State["live"], queue?: QueuedMessage[], steering?: PendingWord[], late?: string[],
 * }} Page
 */

/**
 * The state of the connection: a word of socket.js, and what belongs to it.
 *
 * @typedef {{
 *   word: string, until?: number|null, seconds?: number, code?: number, done?: number, total?: number, seq?: number, unsent?: number,
 * }} Link
 */

/**
 * A message that is not accepted yet. `tried` says that it has been sent and may have been taken.
 *
 * @typedef {{
 *   client_message_id: string, message: string, files?: FileData[], agent_name?: string, enable_reasoning: boolean, at: number, place: number,
 *   tried?: boolean, error?: {code: string, message: string}, way?: Way,
 * }} OutboxItem
 */

/** How a message goes into the run at work: read at once, or at its next step. @typedef {"now"|"next"} Way */

/** @typedef {OutboxItem & { label: string, isOnItsWay: boolean }} UnsentMessage */

/** The live connection and its stand-in over the API. @typedef {{
 *   open(): void, close(): void, send(type: string, payload: any): boolean, resume(): boolean|void, nudge(): void, offline(): void,
 *   readonly isOpen: boolean, again?: () => void, readonly state: Link,
 * }} Transport
 */

/** A part of the browser's storage; null where there is none. @typedef {Storage|null} Store */

export {};
