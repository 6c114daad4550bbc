// Messages against the JSON schema of Slack's own types. Usage: types.mjs SCHEMA MESSAGES
//
// @slack/types says which keys and which kinds of objects a block has, and not how long they may
// be. A kind of block that it does not have yet is counted and left to lengths.py.

import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import readline from "node:readline";

const require = createRequire(`${process.env.MODULES}/`);
const Ajv = require("ajv").default;
const [schemaFile, messagesFile] = process.argv.slice(2);

// Kinds of blocks that Slack documents and @slack/types 3.2.0 lacks.
const MISSING = ["data_visualization"];

const schema = JSON.parse(fs.readFileSync(schemaFile, "utf8"));
const ajv = new Ajv({ strict: false }).addSchema(schema, "slack");
const missing = new Map();

/** The problem of a block; undefined if it has none. */
function problem(block) {
  if (MISSING.includes(block.type)) {
    missing.set(block.type, (missing.get(block.type) ?? 0) + 1);
    return undefined;
  }
  const words = String(block.type).split("_");
  const name = `${words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("")}Block`;
  const validate = ajv.getSchema(`slack#/definitions/${name}`);
  if (!validate) return `no type ${name}`;
  return validate(block) ? undefined : ajv.errorsText(validate.errors);
}

const plain = { type: "plain_text", text: "a" };
const mrkdwn = { type: "mrkdwn", text: "a" };
const button = { type: "button", text: plain, url: "https://x.test/" };
const image = { type: "image", image_url: "https://x.test/", alt_text: "a" };
const task = { type: "task_card", task_id: "1", title: "a", status: "pending" };

for (const fine of [
  { type: "header", text: plain },
  { type: "section", text: mrkdwn, fields: [plain], accessory: button },
  { type: "context", elements: [mrkdwn, image] },
  { type: "card", title: mrkdwn, actions: [button] },
  { type: "plan", title: "a", tasks: [task] },
]) {
  assert.equal(problem(fine), undefined, JSON.stringify(fine));
}
for (const planted of [
  { type: "marquee" },
  { type: "divider", colour: "red" },
  { type: "header", text: mrkdwn },
  { type: "header" },
  { type: "section", text: "a" },
  { type: "section", text: { ...mrkdwn, if: "a" } },
  { type: "image", image_url: "https://x.test/" },
  { type: "context", elements: [button] },
  { type: "actions", elements: [plain] },
  { type: "actions", elements: [{ ...button, style: "loud" }] },
  { type: "actions", elements: [{ type: "button", url: "https://x.test/" }] },
  { type: "card", title: "a" },
  { type: "carousel", elements: [{ type: "divider" }] },
  { type: "container", title: mrkdwn, child_blocks: [{ type: "divider" }] },
  { type: "task_card", task_id: "1", title: "a", status: "done" },
  { type: "data_table", caption: "a", rows: [[plain]] },
  { type: "table", rows: [mrkdwn] },
]) {
  assert.ok(problem(planted), `not found: ${JSON.stringify(planted)}`);
}

let [messages, blocks] = [0, 0];
for await (const line of readline.createInterface({ input: fs.createReadStream(messagesFile) })) {
  const message = JSON.parse(line);
  assert.equal(typeof message.text, "string");
  for (const block of message.blocks) {
    const found = problem(block);
    assert.equal(found, undefined, `${found}\n${JSON.stringify(block)}`);
    blocks += 1;
  }
  messages += 1;
}
assert.ok(messages >= 10_000, `only ${messages} messages`);
const without = [...missing].map(([kind, count]) => `, ${count} of them ${kind}, which it lacks`);
console.log(`${messages} messages with ${blocks} blocks are of @slack/types${without.join("")}`);
