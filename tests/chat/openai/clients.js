/** Others' clients, as they come, against a served product: prints what each of them makes of it, as one line of JSON. */

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const model = "researcher";
const question = "What is 6 times 7? [reasoning=4 call=python:{\"code\":\"6*7\"}]";
const messages = [{ role: "user", content: question }];

/** What went wrong, as the client tells it. @param {() => Promise<unknown>} act */
async function failing(act) {
  try {
    await act();
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.status ?? error.statusCode ?? null, message: String(error.message), code: error.code ?? null };
  }
}

async function ofOpenAI() {
  const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
  const models = (await client.models.list()).data.map(({ id }) => id);
  const { data: whole, response } = await client.chat.completions.create({ model, messages }).withResponse();
  const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } });
  const streamed = { content: "", reasoning: "", finish: "", usage: null };
  for await (const chunk of stream) {
    const [choice] = chunk.choices;
    streamed.content += choice?.delta.content ?? "";
    streamed.reasoning += choice?.delta.reasoning_content ?? "";
    streamed.finish ||= choice?.finish_reason ?? "";
    streamed.usage = chunk.usage ?? streamed.usage;
  }
  const told = await client.responses.create({ model, input: question });
  const events = [];
  for await (const event of client.responses.stream({ model, input: question })) events.push(event.type);
  const failed = await failing(async () => {
    const broken = await client.chat.completions.create({ model, messages: [{ role: "user", content: "[fault=bad_json]" }], stream: true });
    for await (const _ of broken);
  });
  return {
    models,
    session: response.headers.get("x-session-id"),
    whole: whole.choices[0].message,
    streamed,
    response: { text: told.output_text, types: told.output.map(({ type }) => type), id: told.id },
    events,
    failed,
    unknown: await failing(() => client.chat.completions.create({ model: "nobody", messages })),
  };
}

async function ofAiSdk() {
  const provider = createOpenAICompatible({ name: "thinkaloud", baseURL, apiKey, includeUsage: true });
  const asked = { model: provider(model), messages, maxRetries: 0 };
  const whole = await generateText(asked);
  const parts = { text: "", reasoning: "" };
  const stream = streamText(asked);
  for await (const part of stream.fullStream) {
    if (part.type === "text-delta") parts.text += part.text;
    if (part.type === "reasoning-delta") parts.reasoning += part.text;
    if (part.type === "error") throw part.error;
  }
  const errors = [];
  const broken = streamText({ ...asked, messages: [{ role: "user", content: "[fault=bad_json]" }], onError: ({ error }) => errors.push(String(error?.message ?? error)) });
  for await (const part of broken.fullStream) if (part.type === "error") errors.push("error");
  return {
    whole: { text: whole.text, reasoning: whole.reasoningText, finish: whole.finishReason, usage: whole.usage.totalTokens },
    streamed: { ...parts, finish: await stream.finishReason, usage: (await stream.usage).totalTokens },
    errors,
    unknown: await failing(() => generateText({ ...asked, model: provider("nobody") })),
  };
}

process.stdout.write(`${JSON.stringify({ openai: await ofOpenAI(), ai: await ofAiSdk() })}\n`);
