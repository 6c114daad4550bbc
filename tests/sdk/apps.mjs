// Slack's Node SDK, its OAuth provider and Bolt as clients of `herald sandbox`.
//
// Usage: apps.mjs SANDBOX_URL PORT, with the sandbox's --events-url and --interactions-url at
// http://127.0.0.1:PORT/slack/events.

import assert from "node:assert/strict";
import http from "node:http";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.SDK_MODULES}/`);
const { WebClient } = require("@slack/web-api");
const { InstallProvider } = require("@slack/oauth");
const { App, LogLevel } = require("@slack/bolt");

const [base, port] = process.argv.slice(2);
const slackApiUrl = `${base}api/`;
const clientOptions = { slackApiUrl, retryConfig: { retries: 0 } };
const secrets = { clientId: "1234567890.0987654321", clientSecret: "sandbox-client-secret" };
const scopes = ["chat:write", "users:read", "im:write", "channels:manage", "channels:read"];

async function control(path, body, method = "POST") {
  const answer = await fetch(`${base}_sandbox/${path}`, {
    method,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  const text = await answer.text();
  return text ? JSON.parse(text) : undefined;
}

/** Installs through the page of Slack's own OAuth provider, with its cookie and its callback. */
async function install() {
  const installer = new InstallProvider({
    ...secrets,
    stateSecret: "state",
    authorizationUrl: `${base}oauth/v2/authorize`,
    clientOptions,
    logLevel: LogLevel.ERROR,
    installationStore: {
      storeInstallation: async (installation) => (installer.kept = installation),
      fetchInstallation: async () => installer.kept,
    },
  });
  const redirectUri = `http://127.0.0.1:${port}/callback`;
  const server = http.createServer((request, response) => {
    if (request.url.startsWith("/callback")) return installer.handleCallback(request, response);
    return installer.handleInstallPath(request, response, {}, { scopes, redirectUri });
  });
  await new Promise((listening) => server.listen(Number(port), "127.0.0.1", listening));
  const begun = await fetch(`http://127.0.0.1:${port}/install`);
  const cookie = begun.headers.get("set-cookie")?.split(";")[0] ?? "";
  const href = /href="([^"]*authorize[^"]*)"/;
  const page = (await begun.text()).match(href)[1].replaceAll("&amp;", "&");
  const decided = await fetch(page, {
    method: "POST",
    redirect: "manual",
    body: new URLSearchParams({ decision: "allow" }),
  });
  const back = decided.headers.get("location");
  assert.ok(back?.startsWith(redirectUri), `${decided.status} ${back}`);
  const ended = await fetch(back, { headers: { cookie } });
  assert.equal(ended.status, 200, await ended.text());
  await new Promise((closed) => server.close(closed));
  assert.equal(installer.kept.bot.scopes.toSorted().join(), scopes.toSorted().join());
  return installer.kept.bot.token;
}

async function webApi(token) {
  const slack = new WebClient(token, clientOptions);
  let members = 0;
  for await (const page of slack.paginate("users.list", { limit: 5 })) {
    members += page.members.length;
  }
  assert.ok(members > 10, "the SDK follows the cursors");
  const posted = await slack.chat.postMessage({ channel: "U0DEMOBEN", text: "a" });
  const edited = await slack.chat.update({ channel: posted.channel, ts: posted.ts, text: "b" });
  assert.equal(edited.text, "b");
  await assert.rejects(slack.chat.postMessage({ channel: "C0NONE", text: "a" }), (error) => {
    assert.equal(error.data.error, "channel_not_found");
    return true;
  });
  const invalid = slack.conversations.create({ name: "Not a name" });
  await assert.rejects(invalid, (error) => error.data.error === "invalid_name_specials");
  const { channel } = await slack.conversations.create({ name: "node" });
  const users = "U0DEMOADA,U0NOBODY";
  await assert.rejects(slack.conversations.invite({ channel: channel.id, users }), (error) => {
    assert.equal(error.data.errors[0].error, "user_not_found");
    return true;
  });
  const forced = await slack.conversations.invite({ channel: channel.id, users, force: true });
  assert.equal(forced.errors.length, 1);
  const inside = await slack.conversations.members({ channel: channel.id });
  assert.ok(inside.members.includes("U0DEMOADA"));
  await assert.rejects(slack.conversations.history({ channel: posted.channel }), (error) => {
    assert.equal(error.data.error, "missing_scope");
    assert.ok(error.data.needed.includes("im:history"));
    return true;
  });
}

/** Bolt checks the signatures of the sandbox's requests, and answers button presses. */
async function bolt(token) {
  const app = new App({
    token,
    clientOptions,
    signingSecret: "sandbox-signing-secret",
    logLevel: LogLevel.ERROR,
    ignoreSelf: false,
  });
  const seen = [];
  let wake = () => {};
  const told = (what) => (seen.push(what), wake());
  const until = async (what) => {
    while (!seen.includes(what)) await new Promise((resolve) => (wake = resolve));
  };
  app.event("team_join", async ({ event }) => told(`join ${event.user.id}`));
  app.event("channel_created", async ({ event }) => told(`channel ${event.channel.name}`));
  app.event("member_joined_channel", async ({ event }) => told(`in ${event.user}`));
  app.event("channel_archive", async ({ event }) => told(`archived ${event.channel}`));
  app.message("hello", async ({ message, say }) => {
    await say({ text: "hi", thread_ts: message.ts });
    told("message");
  });
  app.action("open", async ({ ack, respond, body, client }) => {
    await ack();
    const title = { type: "plain_text", text: "Modal" };
    const view = { type: "modal", title, blocks: [{ type: "divider" }] };
    assert.ok((await client.views.open({ trigger_id: body.trigger_id, view })).view.id);
    await respond({ replace_original: true, text: "opened" });
    told("press");
  });
  await app.start(Number(port));

  await control("members", { id: "U0BOLT", profile: { email: "bolt@demo.example" } });
  await until("join U0BOLT");
  const { channel } = await app.client.conversations.create({ name: "bolt" });
  await until("channel bolt");
  await app.client.conversations.invite({ channel: channel.id, users: "U0DEMOADA" });
  await until("in U0DEMOADA");
  await control(`conversations/${channel.id}`, { archived: true }, "PATCH");
  await until(`archived ${channel.id}`);
  const text = { type: "plain_text", text: "Open" };
  const blocks = [{ type: "actions", elements: [{ type: "button", action_id: "open", text }] }];
  const posted = await app.client.chat.postMessage({ channel: "U0DEMOADA", text: "press", blocks });
  const written = { conversation: posted.channel, user: "U0DEMOADA", text: "hello" };
  await control("messages", written);
  await until("message");
  await control("press", { conversation: posted.channel, ts: posted.ts, action_id: "open" });
  await until("press");
  const deliveries = await (await fetch(`${base}_sandbox/deliveries`)).json();
  const wrong = deliveries.filter(({ status }) => status !== 200 && status !== null);
  assert.deepEqual(wrong, [], "Bolt accepted each signature as Slack's");
  await app.stop();
}

/** An app made from a manifest, whose events have its own signature: it takes no others. */
async function otherApp() {
  const manifest = {
    display_information: { name: "Other" },
    oauth_config: { scopes: { bot: ["users:read"] } },
    settings: {
      event_subscriptions: {
        request_url: `http://127.0.0.1:${port}/slack/events`,
        bot_events: ["user_change"],
      },
    },
  };
  const configuration = await control("tokens", { do: "issue_configuration" });
  const manager = new WebClient(configuration.token, clientOptions);
  const made = await manager.apps.manifest.create({ manifest: JSON.stringify(manifest) });
  const scopes = { do: "issue", scopes: ["users:read"] };
  const { token } = await control(`tokens?app=${made.app_id}`, scopes);
  const app = new App({
    token,
    clientOptions,
    signingSecret: made.credentials.signing_secret,
    // It says of each foreign event that its signature is wrong.
    logLevel: LogLevel.ERROR,
  });
  const heard = new Promise((resolve) => {
    app.event("user_change", async ({ event, body }) => resolve([event.user.id, body.api_app_id]));
  });
  await app.start(Number(port));
  await control("members/U0DEMOADA", { deleted: true }, "PATCH");
  assert.deepEqual(await heard, ["U0DEMOADA", made.app_id]);
  const deliveries = await (await fetch(`${base}_sandbox/deliveries`)).json();
  const own = deliveries.filter(({ app_id: id, event_type: type }) => {
    return id === "A0SANDBOX01" && type === "user_change";
  });
  assert.deepEqual([...new Set(own.map(({ status }) => status))], [401], "another app's secret");
  await app.stop();
}

const token = await install();
await webApi(token);
await bolt(token);
await otherApp();
console.log("Node: web-api, oauth and bolt, with events and presses that Bolt accepts as Slack's");
process.exit(0);
