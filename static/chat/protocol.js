/** The protocol's words and types. Made from chat/protocol by `make protocol`, not by hand. */

export const COMMANDS = Object.freeze([
  "chat",
  "cancel",
  "continue",
  "steer",
  "unsteer",
  "approve",
  "answer",
  "resume",
  "ack",
  "ping",
  "activity",
]);

export const STORED = Object.freeze([
  "reasoning_start",
  "reasoning_step",
  "response",
  "reasoning_complete",
  "error",
  "child_start",
  "child_step",
  "child_error",
  "child_complete",
]);

export const UNSTORED = Object.freeze([
  "session",
  "accepted",
  "queue",
  "steering",
  "reasoning_delta",
  "child_delta",
  "pong",
  "presence",
  "announcement",
  "notification",
  "verdict",
  "comment",
  "activity",
]);

export const STEP_TYPES = Object.freeze([
  "start",
  "iteration_start",
  "iteration_end",
  "thought",
  "tool_use",
  "tool_result",
  "final_answer",
  "max_iterations_reached",
  "complete",
  "error",
  "steer",
  "approval_request",
  "approval",
  "question",
  "answer",
]);

export const ENDS = Object.freeze([
  "completed",
  "cancelled",
  "failed",
  "max_iterations",
  "interrupted",
]);

export const ERROR_CODES = Object.freeze([
  "bad_json",
  "bad_frame",
  "unknown_type",
  "too_large",
  "empty_message",
  "bad_text",
  "unknown_agent",
  "bad_last_seq",
  "not_found",
  "not_allowed",
  "not_continuable",
  "nothing_to_cancel",
  "conflict",
  "rate_limited",
  "queue_full",
  "unsupported_media",
  "too_many_files",
  "model_unreachable",
  "model_auth",
  "model_rate_limited",
  "model_timeout",
  "model_cut_off",
  "model_error",
  "tool_failed",
  "storage",
  "internal",
  "budget_exceeded",
  "not_waiting",
  "bad_seq",
  "bad_arguments",
  "not_decided",
]);

/** Close codes. */
export const CLOSE = Object.freeze({
  NOT_LOGGED_IN: 4401,
  WITHDRAWN: 4403,
  NO_SUCH_SESSION: 4404,
  TOO_SLOW: 4408,
  SILENT: 4410,
  TOO_LARGE: 4413,
  TOO_MANY: 4429,
  INTERNAL: 4500,
  RESTARTING: 4012,
});

/** Stored frames a client may leave unacknowledged. */
export const WINDOW = 200;

/** @typedef {"completed" | "cancelled" | "failed" | "max_iterations" | "interrupted"} End */

/**
 * @typedef {"bad_json" | "bad_frame" | "unknown_type" | "too_large" | "empty_message" | "bad_text" | "unknown_agent" |
 *   "bad_last_seq" | "not_found" | "not_allowed" | "not_continuable" | "nothing_to_cancel" | "conflict" |
 *   "rate_limited" | "queue_full" | "unsupported_media" | "too_many_files" | "model_unreachable" | "model_auth" |
 *   "model_rate_limited" | "model_timeout" | "model_cut_off" | "model_error" | "tool_failed" | "storage" | "internal" |
 *   "budget_exceeded" | "not_waiting" | "bad_seq" | "bad_arguments" | "not_decided"} ErrorCode
 */

/**
 * The answer to `chat` and `continue`: the run that exists now; and to `steer`: that the word was accepted.
 * @typedef {object} AcceptedData
 * @property {string} client_message_id
 * @property {string} run_id
 * @property {number} queued Its place in the queue; 0 if it runs.
 * @property {true} [steer] It is a steering word for that run, to be read by its next model call.
 */

/**
 * The answer to `chat`, `continue` and `steer`, before any frame of the run.
 * @typedef {object} AcceptedFrame
 * @property {"accepted"} type
 * @property {AcceptedData} data
 */

/**
 * What somebody is doing now; valid for a few seconds, unless it is sent again.
 * @typedef {object} ActivityData
 * @property {string} user
 * @property {number} [seq] The number of the step that they read.
 * @property {boolean} [typing]
 */

/**
 * Somebody is typing, or reading.
 * @typedef {object} ActivityFrame
 * @property {"activity"} type
 * @property {ActivityData} data
 */

/**
 * A message from the operators, to everyone, in place of the one before. An empty one withdraws that.
 * @typedef {object} AnnouncementData
 * @property {string} message
 * @property {"info" | "warning" | "error"} level
 */

/**
 * A message from the operators.
 * @typedef {object} AnnouncementFrame
 * @property {"announcement"} type
 * @property {AnnouncementData} data
 */

/**
 * A question was answered.
 * @typedef {object} AnswerStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"answer"} type
 * @property {string} tool_call_id
 * @property {string | null} user Who answered. Null: nobody did before the deadline.
 * @property {Record<string, unknown>} answers By the fields' names: a text, a list of texts, a number, or a boolean.
 */

/**
 * A call waits until a person allows or denies it.
 * @typedef {object} ApprovalRequestStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"approval_request"} type
 * @property {string} tool_call_id
 * @property {string} tool_name
 * @property {Record<string, unknown>} arguments
 * @property {number} deadline
 * @property {"deny" | "stop"} unanswered What happens if nobody decides before the deadline: the call is denied, or the
 *   run ends.
 */

/**
 * A call was allowed or denied.
 * @typedef {object} ApprovalStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"approval"} type
 * @property {string} tool_call_id
 * @property {"allow" | "deny"} decision
 * @property {string | null} user Who decided. Null: nobody did before the deadline.
 * @property {Record<string, unknown>} [arguments] The arguments that the call is made with instead of the model's.
 * @property {"once" | "session"} scope `session`: later calls of this tool under this rule are also allowed, in runs of
 *   the same user.
 * @property {string} reason
 */

/**
 * A session's place in its family: sessions that were copied from each other, as far as its reader may see them.
 * @typedef {object} BranchData
 * @property {string} family The same for all of the family.
 * @property {string | null} of The session that this one was copied from; null if there is none, or none that the
 *   reader may see.
 * @property {number | null} after_seq The last copied event; null for the session that the family begins with.
 * @property {number} number Its place among the sessions that continue differently after the same event, with the
 *   original as the first; 1 for the session that the family begins with.
 * @property {number} count How many those are; for the session that the family begins with, the size of the family.
 */

/**
 * How much is used of the run's tightest budget.
 * @typedef {object} BudgetUse
 * @property {number} used
 * @property {number} limit
 * @property {string} unit `tokens`, or a currency.
 */

/**
 * A run within another one has ended; its usage includes that of the runs within it.
 * @typedef {object} ChildCompleteFrame
 * @property {number} seq
 * @property {string} id
 * @property {string} run_id
 * @property {string} [copied_from]
 * @property {"child_complete"} type
 * @property {ReasoningCompleteData} data
 */

/**
 * The step that a run within another one is writing now.
 * @typedef {object} ChildDeltaFrame
 * @property {"child_delta"} type
 * @property {string} run_id
 * @property {DeltaData} data
 */

/**
 * Why a run within another one has failed.
 * @typedef {object} ChildErrorFrame
 * @property {number} seq
 * @property {string} id
 * @property {string} run_id
 * @property {string} [copied_from]
 * @property {"child_error"} type
 * @property {ErrorData} data
 */

/**
 * A run within the running one.
 * @typedef {object} ChildRun
 * @property {string} id
 * @property {"running" | "cancelling" | "waiting"} status
 * @property {number | null} started_at
 * @property {Parent} parent
 */

/**
 * A run within another one begins.
 * @typedef {object} ChildStartData
 * @property {string} agent
 * @property {string} message
 * @property {string} user
 * @property {boolean} enable_reasoning
 * @property {number} timestamp
 * @property {string} [continues]
 * @property {Array<FileData>} [files]
 * @property {string} [model]
 * @property {number} [max_iterations]
 * @property {SentAlongData} [sent_along]
 * @property {Parent} parent
 */

/**
 * A run within another one begins; its other events come between those of the run that started it.
 * @typedef {object} ChildStartFrame
 * @property {number} seq
 * @property {string} id
 * @property {string} run_id
 * @property {string} [copied_from]
 * @property {"child_start"} type
 * @property {ChildStartData} data
 */

/**
 * A step of a run within another one.
 * @typedef {object} ChildStepFrame
 * @property {number} seq
 * @property {string} id
 * @property {string} run_id
 * @property {string} [copied_from]
 * @property {"child_step"} type
 * @property {StartStep | IterationStartStep | IterationEndStep | ThoughtStep | ToolUseStep | ToolResultStep |
 *   FinalAnswerStep | MaxIterationsStep | CompleteStep | ErrorStep | SteerStep | ApprovalRequestStep | ApprovalStep |
 *   QuestionStep | AnswerStep} data
 */

/**
 * A comment, new or changed.
 * @typedef {object} CommentData
 * @property {string} id
 * @property {number} seq The number of the step that it is about.
 * @property {string} user
 * @property {string} text Plain text; empty if it was deleted.
 * @property {number} created_at
 * @property {number | null} edited_at
 * @property {true} [deleted]
 * @property {number} count How many comments the step has now.
 * @property {number} version
 */

/**
 * A comment on a step was written, changed or deleted.
 * @typedef {object} CommentFrame
 * @property {"comment"} type
 * @property {CommentData} data
 */

/**
 * The agent has ended.
 * @typedef {object} CompleteStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"complete"} type
 * @property {number} total_iterations
 */

/**
 * How much of the model's context the conversation takes, in tokens.
 * @typedef {object} ContextUse
 * @property {number} used
 * @property {number} limit 0 if it is not known.
 */

/**
 * What tokens cost.
 * @typedef {object} CostData
 * @property {number} amount
 * @property {string} currency Three letters, such as `USD`.
 */

/**
 * Text that is being written. It begins at `offset` of the step's text; an offset of 0 begins the text again.
 * @typedef {object} DeltaData
 * @property {number} step The number of the step that will replace it; 0 for the answer of a run without reasoning.
 * @property {"thought" | "tool_use" | "tool_result" | "final_answer" | "response"} type
 * @property {number} attempt Deltas with a lower attempt than the newest known are ignored.
 * @property {number} offset
 * @property {string} text
 * @property {string} [tool_name]
 */

/**
 * What went wrong: with a command, or, in a stored event, with a run.
 * @typedef {object} ErrorData
 * @property {string} message For people.
 * @property {ErrorCode} code
 * @property {string} id The id by which operators find the error in the log.
 * @property {string} [client_message_id]
 * @property {string} [template] The template of the message, with `%(name)s` for each value, by which pages translate
 *   it.
 * @property {Record<string, unknown>} [values] The values by name: strings, numbers, or the `template` and `values` of
 *   a sentence.
 */

/**
 * A command was refused. Nothing is stored.
 * @typedef {object} ErrorFrame
 * @property {"error"} type
 * @property {ErrorData} data
 */

/**
 * The agent has failed.
 * @typedef {object} ErrorStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"error"} type
 * @property {string} error What went wrong, for people.
 * @property {string} code
 */

/**
 * A file, added to a message or returned by a tool.
 * @typedef {object} FileData
 * @property {string} id
 * @property {string} name
 * @property {string} media_type The type found in its content, whatever its name says.
 * @property {number} size In bytes.
 */

/**
 * The answer.
 * @typedef {object} FinalAnswerStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"final_answer"} type
 * @property {number} step
 * @property {number} duration_ms
 * @property {true} [partial] The run ended while it was being written.
 */

/**
 * A model call and its tools have ended.
 * @typedef {object} IterationEndStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"iteration_end"} type
 * @property {ContextUse} [context] As of the end of that call; `budget` too, if the run has one.
 * @property {BudgetUse} [budget]
 */

/**
 * A model call begins.
 * @typedef {object} IterationStartStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"iteration_start"} type
 */

/**
 * The running or waiting root run.
 * @typedef {object} LiveRun
 * @property {string} id
 * @property {"running" | "cancelling" | "waiting"} status
 * @property {number | null} started_at
 */

/**
 * The last allowed model call still asked for tools.
 * @typedef {object} MaxIterationsStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"max_iterations_reached"} type
 * @property {number} max_iterations
 */

/**
 * The verdicts and comments of a session: how many there are, and up to which change.
 * @typedef {object} NotesData
 * @property {number} version
 * @property {Record<string, number>} counts How many comments there are, by the number of the step that they are about.
 * @property {Record<string, VerdictCounts>} verdicts By the run's id.
 * @property {Record<string, "good" | "bad">} mine The reader's own verdicts, by the run's id.
 */

/**
 * How a scheduled run of the reader's has ended; sent on the sockets of all their sessions.
 * @typedef {object} NotificationData
 * @property {number} id
 * @property {string} schedule_id
 * @property {string} title
 * @property {string} text
 * @property {Record<string, string>} texts The text in each language of the pages, by its code.
 * @property {"completed" | "cancelled" | "failed" | "max_iterations" | "interrupted" | "skipped" | "missed"} status
 * @property {boolean} paused Whether the schedule was paused because of it.
 * @property {string | null} run_id
 * @property {string | null} session_id
 * @property {number | null} duration_ms
 * @property {number} timestamp
 */

/**
 * How a scheduled run has ended, or that a run waits for the reader.
 * @typedef {object} NotificationFrame
 * @property {"notification"} type
 * @property {NotificationData | WaitingData} data
 */

/**
 * The run and the call that have started a run within it.
 * @typedef {object} Parent
 * @property {string} run_id
 * @property {string} tool_call_id
 * @property {number} depth 1 for a run within a root.
 */

/**
 * A steering word for the running run, which its model has not read yet.
 * @typedef {object} PendingWord
 * @property {string} client_message_id
 * @property {string | null} user
 * @property {string} message
 */

/**
 * Somebody who has the session open.
 * @typedef {object} Person
 * @property {string} user
 * @property {"owner" | "driver" | "watcher" | "staff"} role
 * @property {number} sockets
 */

/**
 * The answer to `ping`.
 * @typedef {object} PongData
 * @property {number} last_seq The number of the newest stored event.
 * @property {number} timestamp
 */

/**
 * The answer to `ping`.
 * @typedef {object} PongFrame
 * @property {"pong"} type
 * @property {PongData} data
 */

/**
 * The people who have the session open, at each change.
 * @typedef {object} PresenceFrame
 * @property {"presence"} type
 * @property {Array<Person>} data
 */

/**
 * A field of a question to a person.
 * @typedef {object} QuestionField
 * @property {string} name
 * @property {string} label
 * @property {"text" | "choice" | "choices" | "number" | "yes_no"} kind
 * @property {Array<string>} [options] For `choice` (select one) and `choices` (select any number).
 * @property {boolean} required
 */

/**
 * The agent asks a person a question, and waits for the answer.
 * @typedef {object} QuestionStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"question"} type
 * @property {string} tool_call_id
 * @property {Array<QuestionField>} fields
 * @property {number} deadline
 */

/**
 * The queued messages, at each change.
 * @typedef {object} QueueFrame
 * @property {"queue"} type
 * @property {Array<QueuedRun>} data
 */

/**
 * A queued message.
 * @typedef {object} QueuedRun
 * @property {string} run_id
 * @property {string} client_message_id
 * @property {string | null} user
 * @property {string} message
 */

/**
 * A run has ended: its last event, exactly one.
 * @typedef {object} ReasoningCompleteData
 * @property {End} status
 * @property {number} total_iterations
 * @property {number} duration_ms
 * @property {Usage} usage
 * @property {ErrorCode} [code]
 * @property {string} [cancelled_by]
 * @property {number} [waited_ms] How long it waited for people, which `duration_ms` does not include; missing if it did
 *   not wait.
 * @property {true} [removed] It was removed from the queue before it began.
 */

/**
 * A run has ended.
 * @typedef {object} ReasoningCompleteFrame
 * @property {number} seq
 * @property {string} id
 * @property {string} run_id
 * @property {string} [copied_from]
 * @property {"reasoning_complete"} type
 * @property {ReasoningCompleteData} data
 */

/**
 * The step that a run is writing now.
 * @typedef {object} ReasoningDeltaFrame
 * @property {"reasoning_delta"} type
 * @property {string} run_id
 * @property {DeltaData} data
 */

/**
 * A run begins; its other events follow without those of another root run in between.
 * @typedef {object} ReasoningStartData
 * @property {string} agent
 * @property {string} message
 * @property {string} user The user's name; empty if the account was deleted.
 * @property {boolean} enable_reasoning
 * @property {number} timestamp
 * @property {string} [continues] The run that this one continues.
 * @property {Array<FileData>} [files] The files of the message.
 * @property {string} [model]
 * @property {number} [max_iterations] How many model calls it may make, by its agent's version; missing if there is no
 *   limit.
 * @property {SentAlongData} [sent_along]
 */

/**
 * A run begins.
 * @typedef {object} ReasoningStartFrame
 * @property {number} seq
 * @property {string} id
 * @property {string} run_id
 * @property {string} [copied_from]
 * @property {"reasoning_start"} type
 * @property {ReasoningStartData} data
 */

/**
 * A step of a run.
 * @typedef {object} ReasoningStepFrame
 * @property {number} seq
 * @property {string} id
 * @property {string} run_id
 * @property {string} [copied_from]
 * @property {"reasoning_step"} type
 * @property {StartStep | IterationStartStep | IterationEndStep | ThoughtStep | ToolUseStep | ToolResultStep |
 *   FinalAnswerStep | MaxIterationsStep | CompleteStep | ErrorStep | SteerStep | ApprovalRequestStep | ApprovalStep |
 *   QuestionStep | AnswerStep} data
 */

/**
 * The whole answer of a run without reasoning.
 * @typedef {object} ResponseData
 * @property {string} content
 * @property {true} [partial] The run ended while it was being written.
 */

/**
 * The answer of a run without reasoning.
 * @typedef {object} ResponseFrame
 * @property {number} seq
 * @property {string} id
 * @property {string} run_id
 * @property {string} [copied_from]
 * @property {"response"} type
 * @property {ResponseData} data
 */

/**
 * Why a run has failed.
 * @typedef {object} RunErrorFrame
 * @property {number} seq
 * @property {string} id
 * @property {string} run_id
 * @property {string} [copied_from]
 * @property {"error"} type
 * @property {ErrorData} data
 */

/**
 * What a client that keeps the conversation itself has sent along with a message. The texts are on the run's page.
 * @typedef {object} SentAlongData
 * @property {number} messages How many earlier messages the session does not have.
 * @property {boolean} instructions Whether it has sent additional instructions for the agent.
 */

/**
 * The first data that a client gets, and again after `resume`; the replay follows.
 * @typedef {object} SessionData
 * @property {string} session_id
 * @property {string} title
 * @property {string} agent
 * @property {number} last_seq The number of the newest stored event.
 * @property {"owner" | "driver" | "watcher" | "staff"} role
 * @property {number} window How many stored frames may be left unacknowledged.
 * @property {LiveRun | null} run
 * @property {Array<QueuedRun>} queue
 * @property {Array<ChildRun>} children Unfinished runs within the running one.
 * @property {Array<PendingWord>} steering Steering words that the running run's next model call will read, oldest
 *   first.
 * @property {NotesData} notes
 * @property {ContextUse} [context] As of its last model call.
 * @property {BudgetUse} [budget] The tightest budget of its next run.
 * @property {BranchData} [branch] Missing if the reader may see neither a copy of the session nor its original.
 * @property {true} [reset] The client has another log: it has to drop all of it, and gets the whole log.
 */

/**
 * The session as a client finds it; the first frame.
 * @typedef {object} SessionFrame
 * @property {"session"} type
 * @property {SessionData} data
 */

/**
 * The run begins.
 * @typedef {object} StartStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"start"} type
 * @property {string} message
 */

/**
 * A user's steering word; the model call of its iteration is the first that reads it.
 * @typedef {object} SteerStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"steer"} type
 * @property {string} user The user's name; empty if the account was deleted.
 * @property {string} client_message_id
 */

/**
 * The steering words that the running run's model has not read yet, at each change.
 * @typedef {object} SteeringFrame
 * @property {"steering"} type
 * @property {Array<PendingWord>} data
 */

/**
 * What the model thought, or wrote before it called tools; or a note for readers, which no model wrote.
 * @typedef {object} ThoughtStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"thought"} type
 * @property {number} step
 * @property {number} duration_ms
 * @property {string} [template] For a note: the template of `content`, by which pages translate it, with `%(name)s` for
 *   each value.
 * @property {Record<string, unknown>} [values] The values by name: strings, numbers, or the `template` and `values` of
 *   a sentence.
 * @property {true} [partial] The run ended while it was being written.
 */

/**
 * The result of a call. `content` is the result, or its beginning.
 * @typedef {object} ToolResultStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"tool_result"} type
 * @property {number} step
 * @property {string} tool_name
 * @property {string} tool_call_id
 * @property {boolean} ok
 * @property {number} duration_ms
 * @property {boolean} truncated Whether `content` is only the beginning.
 * @property {number} content_length The length of the whole result.
 * @property {Array<FileData>} [files] The files that the tool returned with its text.
 */

/**
 * The model calls a tool.
 * @typedef {object} ToolUseStep
 * @property {string} content
 * @property {number} iteration
 * @property {number} timestamp
 * @property {"tool_use"} type
 * @property {number} step
 * @property {string} tool_name
 * @property {string} tool_call_id Unique in the run.
 * @property {Record<string, unknown> | string} arguments An object; or the text that the model wrote, if that is no
 *   object.
 */

/**
 * Tokens of a run, or of one of its model calls.
 * @typedef {object} Usage
 * @property {number} input_tokens
 * @property {number} output_tokens
 * @property {boolean} estimated Whether they are estimated, because the model's server did not report them.
 * @property {number} [cached_tokens] Input tokens from the server's cache; missing if it does not report them.
 * @property {number} [reasoning_tokens] Output tokens of thoughts; missing if the server does not report them.
 * @property {CostData} [cost] Missing if it is not known.
 */

/**
 * How many verdicts of each kind a run has.
 * @typedef {object} VerdictCounts
 * @property {number} good
 * @property {number} bad
 */

/**
 * A user's verdict on a run; `verdict` is null if it was taken back.
 * @typedef {object} VerdictData
 * @property {string} run_id
 * @property {string} user
 * @property {"good" | "bad" | null} verdict
 * @property {string} reason
 * @property {number} good
 * @property {number} bad
 * @property {number} version
 */

/**
 * A verdict on a run was given or taken back.
 * @typedef {object} VerdictFrame
 * @property {"verdict"} type
 * @property {VerdictData} data
 */

/**
 * A run has begun to wait for the reader, or for others who may decide; sent on the sockets of all their sessions.
 * @typedef {object} WaitingData
 * @property {"approval" | "question"} kind
 * @property {string} session_id
 * @property {string} title
 * @property {string} run_id
 * @property {string} tool_call_id
 * @property {string} tool_name
 * @property {number} deadline
 * @property {number} timestamp
 */

/**
 * Ask: starts a run, or queues it.
 * @typedef {object} ChatPayload
 * @property {string} message
 * @property {string | null} [agent_name]
 * @property {boolean} [enable_reasoning] False: only the answer is numbered and sent.
 * @property {string | null} [client_message_id] If the same user sends it again, it is the same message: it gets the
 *   same answer and starts nothing.
 * @property {Array<string>} [files] Ids of the message's files: the user's own, or the session's.
 */

/** @typedef {{ type: "chat", payload: ChatPayload }} ChatCommand */

/**
 * Stop a run; by default the one that is running.
 * @typedef {object} CancelPayload
 * @property {string | null} [run_id]
 * @property {boolean} [all] Whether to stop the queued runs, too.
 */

/** @typedef {{ type: "cancel", payload: CancelPayload }} CancelCommand */

/**
 * Continue from an ended run's last stored step, as a new run.
 * @typedef {object} ContinuePayload
 * @property {string} run_id
 * @property {string | null} [client_message_id]
 */

/** @typedef {{ type: "continue", payload: ContinuePayload }} ContinueCommand */

/**
 * Send a steering word to the running run, which its next model call reads. If none is running, it works like `chat`.
 * @typedef {object} SteerPayload
 * @property {string} message
 * @property {string | null} [client_message_id] If the same user sends it again, it is the same message: it gets the
 *   same answer.
 * @property {boolean} [interrupt] Interrupt the current model call or tool, so that the message is read immediately.
 */

/** @typedef {{ type: "steer", payload: SteerPayload }} SteerCommand */

/**
 * Withdraw a steering word that no model call has read.
 * @typedef {object} UnsteerPayload
 * @property {string} client_message_id
 */

/** @typedef {{ type: "unsteer", payload: UnsteerPayload }} UnsteerCommand */

/**
 * Allow or deny a call of a run that waits.
 * @typedef {object} ApprovePayload
 * @property {string} tool_call_id
 * @property {"allow" | "deny"} decision
 * @property {Record<string, unknown> | null} [arguments] Arguments to use instead; they are checked like the model's.
 * @property {"once" | "session"} [scope] `session`: also decides later calls of this tool under the same rule, in runs
 *   of the user who asked.
 * @property {string | null} [reason]
 * @property {string} run_id
 */

/** @typedef {{ type: "approve", payload: ApprovePayload }} ApproveCommand */

/**
 * Answer what the agent of a run asks.
 * @typedef {object} AnswerPayload
 * @property {string} tool_call_id
 * @property {Record<string, unknown>} answers The answer's values, by the names of the fields.
 * @property {string} run_id
 */

/** @typedef {{ type: "answer", payload: AnswerPayload }} AnswerCommand */

/**
 * Replay after `last_seq`, then live.
 * @typedef {object} ResumePayload
 * @property {unknown} [last_seq] The number of the newest event that the client has.
 * @property {unknown} [last_id] That event's id, which shows whether the log is still the same.
 */

/** @typedef {{ type: "resume", payload: ResumePayload }} ResumeCommand */

/**
 * Everything up to `seq` is part of the client's state.
 * @typedef {object} AckPayload
 * @property {number} seq
 */

/** @typedef {{ type: "ack", payload: AckPayload }} AckCommand */

/**
 * A sign that the client is alive.
 * @typedef {object} PingPayload
 */

/** @typedef {{ type: "ping", payload: PingPayload }} PingCommand */

/**
 * What the reader is doing now. It is sent to others at most once a second, and never stored.
 * @typedef {object} ActivityPayload
 * @property {number | null} [seq] The number of the step that the user is reading.
 * @property {boolean | null} [typing]
 */

/** @typedef {{ type: "activity", payload: ActivityPayload }} ActivityCommand */

/**
 * @typedef {ChatCommand | CancelCommand | ContinueCommand | SteerCommand | UnsteerCommand | ApproveCommand |
 *   AnswerCommand | ResumeCommand | AckCommand | PingCommand | ActivityCommand} Command
 */

/**
 * @typedef {ReasoningStartFrame | ReasoningStepFrame | ResponseFrame | ReasoningCompleteFrame | RunErrorFrame |
 *   ChildStartFrame | ChildStepFrame | ChildErrorFrame | ChildCompleteFrame} StoredFrame
 */

/**
 * @typedef {SessionFrame | AcceptedFrame | QueueFrame | SteeringFrame | ReasoningDeltaFrame | ChildDeltaFrame |
 *   PongFrame | PresenceFrame | AnnouncementFrame | NotificationFrame | ErrorFrame | VerdictFrame | CommentFrame |
 *   ActivityFrame} UnstoredFrame
 */

/**
 * @typedef {StartStep | IterationStartStep | IterationEndStep | ThoughtStep | ToolUseStep | ToolResultStep |
 *   FinalAnswerStep | MaxIterationsStep | CompleteStep | ErrorStep | SteerStep | ApprovalRequestStep | ApprovalStep |
 *   QuestionStep | AnswerStep} StepData
 */

/** @typedef {StoredFrame | UnstoredFrame} Frame */
