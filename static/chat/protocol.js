/**
 * The wire's words, equal to chat/protocol.py (a test compares them).
 */

export const COMMANDS = Object.freeze(["chat", "cancel", "continue", "resume", "ack", "ping"]);

export const STORED = Object.freeze([
  "reasoning_start",
  "reasoning_step",
  "response",
  "reasoning_complete",
  "error",
]);

export const UNSTORED = Object.freeze([
  "session",
  "accepted",
  "queue",
  "reasoning_delta",
  "pong",
  "presence",
  "announcement",
  "notification",
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
]);

export const ENDS = Object.freeze(["completed", "cancelled", "failed", "max_iterations", "interrupted"]);

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
  "model_unreachable",
  "model_auth",
  "model_rate_limited",
  "model_timeout",
  "model_cut_off",
  "model_error",
  "tool_failed",
  "storage",
  "internal",
]);

/** Close codes, by name as in chat/protocol.py's Close. */
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
