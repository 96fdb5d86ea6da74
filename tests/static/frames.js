/** Frames as the server sends them, for the suites. */

const RUN = "11111111-1111-4111-8111-111111111111";

/** A log that numbers the events appended to it. */
export function log(run = RUN, first = 1) {
  let seq = first - 1;
  const stored = (type, data, run_id = run) => {
    seq += 1;
    return { type, seq, id: `event-${seq}`, run_id, data };
  };
  return {
    run,
    stored,
    start: (more = {}) =>
      stored("reasoning_start", {
        agent: "researcher",
        message: "How much?",
        user: "mei",
        enable_reasoning: true,
        timestamp: 1000,
        ...more,
      }),
    step: (type, more = {}) => stored("reasoning_step", { type, content: "", iteration: 1, timestamp: 1001, ...more }),
    complete: (more = {}) =>
      stored("reasoning_complete", {
        status: "completed",
        total_iterations: 1,
        duration_ms: 4000,
        usage: { input_tokens: 10, output_tokens: 5, estimated: false },
        ...more,
      }),
    delta: (data, run_id = run) => ({
      type: "reasoning_delta",
      run_id,
      data: { step: 1, type: "thought", attempt: 1, offset: 0, text: "", ...data },
    }),
    get seq() {
      return seq;
    },
  };
}

export function sessionFrame(more = {}) {
  return {
    type: "session",
    data: {
      session_id: "s",
      title: "",
      agent: "researcher",
      last_seq: 0,
      role: "owner",
      window: 200,
      run: null,
      queue: [],
      children: [],
      ...more,
    },
  };
}
