// AG-UI's own client, unmodified: runs an agent over HTTP, or takes streams that were recorded. What it is to do comes as JSON on standard
// input; what came of it, with whatever its verification says, goes to standard output.
import { text } from "node:stream/consumers";
import { HttpAgent } from "@ag-ui/client";

const said = [];

/** Runs once, after a message of the user's; what was thrown is told beside the events. */
async function run(agent, { message, ...parameters }) {
  const events = [];
  let error = null;
  if (message) agent.addMessage({ id: crypto.randomUUID(), role: "user", content: message });
  try {
    await agent.runAgent(parameters, { onEvent: ({ event }) => void events.push(event) });
  } catch (failure) {
    error = String(failure);
  }
  return { events, error: error ?? (said.splice(0).join("; ") || null), messages: agent.messages };
}

const { url, headers, threadId, runs, recorded } = JSON.parse(await text(process.stdin));
const told = [];
// What its verification finds, it says here; of a run that has failed it says nothing.
console.error = (...words) => void said.push(words.map(String).join(" "));
if (recorded) {
  for (const body of recorded) {
    const fetch = async () => new Response(body, { headers: { "content-type": "text/event-stream" } });
    told.push(await run(new HttpAgent({ url: "http://recorded.invalid", fetch }), {}));
  }
} else {
  const agent = new HttpAgent({ url, headers, threadId });
  for (const each of runs) told.push(await run(agent, each));
}
process.stdout.write(JSON.stringify(told));
