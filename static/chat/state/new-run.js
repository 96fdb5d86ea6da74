/**
 * Runs as the state begins with them.
 */

import { ENDS } from "../protocol.js";

/** @import { Run } from "./types.js" */

/**
 * @param {any} run
 * @returns {Run}
 */
export function adopt(run) {
  return { ...newRun(run.id), ...run, growth: null, ended: ENDS.includes(run.status) };
}

/**
 * @param {string} id
 * @returns {Run}
 */
export function newRun(id) {
  return {
    id,
    status: "running",
    ended: false,
    started_at: null,
    agent: "",
    model: "",
    message: "",
    files: [],
    sent_along: null,
    user: "",
    enable_reasoning: true,
    continues: null,
    parent: null,
    iteration: 0,
    limit: 0,
    items: [],
    answer: null,
    error: null,
    duration_ms: null,
    waited_ms: null,
    waits: [],
    usage: null,
    cancelled_by: null,
    removed: false,
    outside: {},
    growth: null,
    finished: 0,
  };
}
