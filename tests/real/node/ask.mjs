// node ask.mjs '{"base":"http://127.0.0.1:8080","key":"...","model":"...","way":"openai"}': asks once through an official
// SDK as its users hold it, and prints one JSON line: {"text", "finish", "error": {"name", "code", "status", "message"}}.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const { base, key, model, way } = JSON.parse(process.argv[2]);
const messages = [{ role: "user", content: "What is a sluice gate?" }];
const openai = new OpenAI({ apiKey: key, baseURL: `${base}/v1`, maxRetries: 0 });
const anthropic = new Anthropic({ apiKey: key, baseURL: base, maxRetries: 0 });
const told = { text: "", finish: null, error: null };

const ways = {
  async openai() {
    for await (const chunk of await openai.chat.completions.create({ model, messages, stream: true })) {
      told.text += chunk.choices[0]?.delta?.content ?? "";
      told.finish = chunk.choices[0]?.finish_reason ?? told.finish;
    }
  },
  async "openai, helper"() {
    const whole = await openai.chat.completions.stream({ model, messages }).finalChatCompletion();
    told.text = whole.choices[0].message.content;
    told.finish = whole.choices[0].finish_reason;
  },
  async "openai, whole"() {
    const whole = await openai.chat.completions.create({ model, messages });
    told.text = whole.choices[0].message.content;
    told.finish = whole.choices[0].finish_reason;
  },
  async responses() {
    for await (const event of await openai.responses.create({ model, input: "Hi", stream: true })) {
      told.text += event.type === "response.output_text.delta" ? event.delta : "";
      told.finish = event.type === "response.completed" ? "completed" : told.finish;
    }
  },
  async anthropic() {
    for await (const event of await anthropic.messages.create({ model, messages, max_tokens: 100, stream: true })) {
      told.text += event.delta?.text ?? "";
      told.finish = event.type === "message_stop" ? "message_stop" : told.finish;
    }
  },
  async "anthropic, helper"() {
    const whole = await anthropic.messages.stream({ model, messages, max_tokens: 100 }).finalMessage();
    told.text = whole.content[0].text;
    told.finish = whole.stop_reason;
  },
};

try {
  await ways[way]();
} catch (error) {
  told.error = { name: error.constructor.name, code: error.code ?? null, status: error.status ?? null, message: error.message };
}
console.log(JSON.stringify(told));
process.exit(0);
