"""Slack's Python SDK as a client of `herald sandbox`: every method, and the keys of its answers.

Usage: web_api.py SANDBOX_URL. `keys.json` holds facts about Slack's own answers: for each method,
keys and their JSON types, from slackapi/java-slack-sdk (json-logs/samples, where many recorded
answers of a method are put together) and Slack's method pages. `always` names the recorded keys
that each documented answer to a successful call has. A key that is not listed, a value of another
type, and a missing key of `always` are faults of the sandbox; LACKING gives the exceptions.
"""

import base64
import hashlib
import json
import pathlib
import sys
import urllib.error
import urllib.parse
import urllib.request

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.oauth import AuthorizeUrlGenerator, OpenIDConnectAuthorizeUrlGenerator
from slack_sdk.signature import SignatureVerifier

BASE = sys.argv[1]
KEYS = pathlib.Path(__file__).with_name("keys.json")
APP = {"client_id": "1234567890.0987654321", "client_secret": "sandbox-client-secret"}
CALLBACK = "https://app.example/cb"
SCOPES = """channels:history channels:join channels:manage channels:read chat:write dnd:read
groups:history groups:read groups:write im:history im:read im:write mpim:history mpim:read
mpim:write team:read tokens.basic usergroups:read users.profile:read users:read
users:read.email""".split()
# Keys that any answer may have, by type.
ANY = {
    "boolean": "ok",
    "string": "warning response_metadata.next_cursor",
    "object": "response_metadata",
    "array": "response_metadata.warnings",
}
# Keys of `always` that the sandbox does not answer with, and why.
LACKING = {
    "chat.postMessage": (
        "message.attachments message.attachments.fallback message.attachments.id "
        "message.attachments.text message.subtype message.username",
        "the one documented answer is about a message with attachments and another name",
    ),
    "oauth.v2.access": (
        "authed_user.access_token authed_user.scope authed_user.token_type",
        "only if a user token was asked for, which the sandbox does not give",
    ),
    "users.info": (
        "user.has_2fa user.profile.image_original",
        "shown to administrators only; only with a picture of the person's own",
    ),
    "users.list": ("members.has_2fa", "shown to administrators only"),
    "users.lookupByEmail": ("user.has_2fa", "shown to administrators only"),
    "users.profile.get": (
        "profile.huddle_state profile.huddle_state_expiration_ts profile.pronouns "
        "profile.start_date",
        "only of people who were in a huddle, or who entered them",
    ),
}
TYPES = {
    bool: "boolean", str: "string", int: "number", float: "number", dict: "object", list: "array",
    type(None): "null",
}
# Keys whose values the caller sent, or that have ids as keys.
SENT = ("blocks", "metadata", "manifest", "fields", "users", "user_id_map", "args", "view")
answers = {}


def control(path, body=None, method=None):
    """Calls the sandbox's control API, to act as a person or an administrator of the workspace."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{BASE}_sandbox/{path}", data=data, method=method)
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def client(token=None):
    slack = WebClient(token=token, base_url=f"{BASE}api/", timeout=20)
    plain = slack.api_call

    def kept(api_method, **arguments):
        answer = plain(api_method, **arguments)
        answers.setdefault(api_method, []).append(answer.data)
        return answer

    slack.api_call = kept
    return slack


def refused(expected, call, /, **arguments):
    try:
        call(**arguments)
    except SlackApiError as error:
        assert error.response["error"] == expected, error.response
        return
    raise AssertionError(f"{expected} was expected")


def allow(page):
    """Presses Allow on Slack's consent page; returns the code."""

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    opener = urllib.request.build_opener(NoRedirect)
    try:
        opener.open(urllib.request.Request(page, data=b"decision=allow"))
        raise AssertionError("no redirect")
    except urllib.error.HTTPError as error:
        query = urllib.parse.urlparse(error.headers["location"]).query
    return urllib.parse.parse_qs(query)["code"][0]


def install_page(scopes, **more):
    page = AuthorizeUrlGenerator(
        client_id=APP["client_id"], scopes=scopes, redirect_uri=CALLBACK,
        authorization_url=f"{BASE}oauth/v2/authorize",
    ).generate(state="s")
    return "&".join([page, urllib.parse.urlencode(more)])


def authorize(slack, scopes):
    """Installs the app; returns the answer of oauth.v2.access."""
    return slack.oauth_v2_access(code=allow(install_page(scopes)), redirect_uri=CALLBACK, **APP)


def sign_in(slack):
    generator = OpenIDConnectAuthorizeUrlGenerator(
        client_id=APP["client_id"], redirect_uri=CALLBACK, scopes=["openid", "email", "profile"],
        authorization_url=f"{BASE}openid/connect/authorize",
    )

    def page():
        return generator.generate(state="s", nonce="n")

    known = slack.openid_connect_token(code=allow(page()), redirect_uri=CALLBACK, **APP)
    assert known["token_type"] == "Bearer"
    middle = known["id_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    assert (claims["aud"], claims["nonce"]) == (APP["client_id"], "n")
    person = client(known["access_token"])
    who = person.openid_connect_userInfo()
    assert who["sub"] == who["https://slack.com/user_id"] == claims["sub"] and who["email_verified"]
    refused("not_allowed_token_type", person.users_list, limit=4)
    refused("not_allowed_token_type", slack.openid_connect_userInfo)
    # A code of one page is refused for the other.
    mismatch = {"redirect_uri": CALLBACK, **APP}
    mixed = "oauth_authorization_url_mismatch"
    refused(mixed, slack.oauth_v2_access, code=allow(page()), **mismatch)
    other = allow(install_page(SCOPES))
    refused(mixed, slack.openid_connect_token, code=other, **mismatch)


def pkce(slack):
    verifier = "v" * 43
    hashed = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(hashed).decode().rstrip("=")

    def exchange(given):
        asked = {"code_challenge": challenge, "code_challenge_method": "S256"}
        code = {"code": allow(install_page(SCOPES, **asked)), "redirect_uri": CALLBACK, **APP}
        return slack.api_call("oauth.v2.access", params={**code, **given})

    try:
        exchange({"code_verifier": verifier})
        raise AssertionError("an app without PKCE takes no verifier")
    except SlackApiError as error:
        assert error.response["error"] == "pkce_not_allowed"
    control("settings", {"pkce": True}, "PATCH")
    for wrong in ({}, {"code_verifier": "w" * 43}):
        try:
            exchange(wrong)
            raise AssertionError("a wrong verifier")
        except SlackApiError as error:
            assert error.response["error"] == "invalid_code_verifier"
    assert exchange({"code_verifier": verifier})["ok"]
    control("settings", {"pkce": False}, "PATCH")


def people(slack):
    everybody = [m for page in slack.users_list(limit=4) for m in page["members"]]
    assert len(everybody) > 10, "the SDK follows the cursors"
    assert slack.users_info(user="U0DEMOADA")["user"]["profile"]["email"] == "ada@demo.example"
    assert slack.users_lookupByEmail(email="ben@demo.example")["user"]["id"] == "U0DEMOBEN"
    refused("users_not_found", slack.users_lookupByEmail, email="nobody@demo.example")
    assert slack.users_profile_get(user="U0DEMOADA")["profile"]["fields"]
    assert slack.team_profile_get()["profile"]["fields"]
    slack.team_info()
    slack.bots_info()
    platform = {"name": "Platform", "handle": "platform", "users": ["U0DEMOADA"]}
    group = control("usergroups", platform)
    listed = slack.usergroups_list(include_users=True, include_count=True)["usergroups"][0]
    assert (listed["users"], listed["user_count"]) == (["U0DEMOADA"], 1)
    slack.usergroups_users_list(usergroup=group["id"])
    slack.dnd_info(user="U0DEMOADA")
    assert "U0DEMOBEN" in slack.dnd_teamInfo(users=["U0DEMOADA", "U0DEMOBEN"])["users"]


def channels(slack):
    refused("invalid_name_specials", slack.conversations_create, name="Atlas")
    made = slack.conversations_create(name="atlas")["channel"]["id"]
    refused("name_taken", slack.conversations_create, name="atlas")
    slack.conversations_invite(channel=made, users=["U0DEMOADA", "U0DEMOBEN"])
    refused("already_in_channel", slack.conversations_invite, channel=made, users=["U0DEMOADA"])
    mixed = {"channel": made, "users": ["U0DEMOCLA", "U0NOBODY"]}
    refused("user_not_found", slack.conversations_invite, **mixed)
    forced = slack.conversations_invite(**mixed, force=True)
    assert forced["errors"] == [{"user": "U0NOBODY", "ok": False, "error": "user_not_found"}]
    slack.conversations_kick(channel=made, user="U0DEMOBEN")
    refused("not_in_channel", slack.conversations_kick, channel=made, user="U0DEMOBEN")
    slack.conversations_setTopic(channel=made, topic="t")
    slack.conversations_setPurpose(channel=made, purpose="p")
    slack.conversations_rename(channel=made, name="atlas-2")
    assert slack.conversations_info(channel=made)["channel"]["name"] == "atlas-2"
    assert "U0DEMOADA" in slack.conversations_members(channel=made)["members"]
    refused("too_long", slack.conversations_setTopic, channel=made, topic="t" * 251)
    slack.conversations_archive(channel=made)
    refused("already_archived", slack.conversations_archive, channel=made)
    # Bots cannot do this at present, says Slack's page.
    refused("not_in_channel", slack.conversations_unarchive, channel=made)
    control("settings", {"bot_unarchive": True}, "PATCH")
    slack.conversations_unarchive(channel=made)
    private = slack.conversations_create(name="atlas-board", is_private=True)["channel"]
    assert private["is_private"] and private["is_member"]
    kind = "method_not_supported_for_channel_type"
    refused(kind, slack.conversations_join, channel=private["id"])
    hidden = {"name": "hidden", "is_private": True, "members": ["U0DEMOADA"]}
    hidden = control("conversations", hidden)["id"]
    refused("channel_not_found", slack.conversations_info, channel=hidden)
    refused("name_taken", slack.conversations_create, name="hidden")
    assert "already_in_channel" in slack.conversations_join(channel=made)["warning"]
    assert slack.conversations_list()["channels"]
    refused("invalid_limit", slack.conversations_list, limit=1000)
    found = slack.users_conversations(user="U0DEMOADA")["channels"]
    assert made in [channel["id"] for channel in found]
    slack.conversations_leave(channel=made)
    direct = slack.conversations_open(users="U0DEMOCLA", return_im=True)["channel"]["id"]
    slack.conversations_close(channel=direct)


def messages(slack):
    posted = slack.chat_postMessage(
        channel="U0DEMOBEN", text="a", metadata={"event_type": "t", "event_payload": {"id": "1"}}
    )
    channel, ts = posted["channel"], posted["ts"]
    answer = slack.chat_postMessage(channel=channel, text="b", thread_ts=ts)
    assert answer["message"]["thread_ts"] == ts
    slack.chat_postEphemeral(channel=channel, user="U0DEMOBEN", text="c")
    slack.chat_getPermalink(channel=channel, message_ts=ts)
    history = slack.conversations_history(channel=channel, include_all_metadata=True)
    assert history["messages"][-1]["metadata"]["event_payload"] == {"id": "1"}
    assert len(slack.conversations_replies(channel=channel, ts=ts)["messages"]) == 2
    slack.chat_postMessage(channel=channel, text="b", thread_ts=ts)
    assert slack.conversations_replies(channel=channel, ts=ts, limit=1)["has_more"]
    slack.chat_update(channel=channel, ts=ts, text="d", metadata={})
    slack.chat_delete(channel=channel, ts=ts)
    alone = slack.chat_postMessage(channel=channel, text="e", thread_ts="1.000000")
    assert "thread_ts" not in alone["message"], "Slack posts it at the root"
    assert slack.conversations_history(channel=channel, limit=1)["has_more"]
    button = {"type": "button", "action_id": "a", "text": {"type": "plain_text", "text": "Open"}}
    blocks = [{"type": "actions", "elements": [button]}]
    warned = slack.chat_postMessage(channel=channel, blocks=blocks)
    assert "missing_text_in_message" in warned["warning"]
    refused("no_text", slack.chat_postMessage, channel=channel)
    layout = {"type": "layout", "label": "l", "rows": [{}]}
    slack.api_call("blocks.validate", json={"blocks": [*blocks, layout]})


def views(slack):
    home = {"type": "home", "blocks": [{"type": "divider"}]}
    slack.views_publish(user_id="U0DEMOBEN", view=home)
    title = {"type": "plain_text", "text": "Modal"}
    modal = {"type": "modal", "title": title, "blocks": [{"type": "divider"}]}

    def trigger():
        return control("triggers", {})["trigger_id"]

    opened = slack.views_open(trigger_id=trigger(), view=modal)["view"]
    slack.views_push(trigger_id=trigger(), view=modal)
    slack.views_update(view_id=opened["id"], hash=opened["hash"], view=modal)
    refused("invalid_trigger_id", slack.views_open, trigger_id="1.2", view=modal)


def apps():
    slack = client(control("tokens", {"do": "issue_configuration"})["token"])
    manifest = {"display_information": {"name": "Herald"}}
    made = slack.apps_manifest_create(manifest=manifest)["app_id"]
    slack.apps_manifest_validate(manifest=manifest)
    slack.apps_manifest_update(app_id=made, manifest=manifest)
    assert slack.apps_manifest_export(app_id=made)["manifest"] == manifest
    slack.apps_manifest_delete(app_id=made)


def other_apps():
    """An app made from a manifest, with credentials, a bot and a token of its own."""
    manager = client(control("tokens", {"do": "issue_configuration"})["token"])
    callback = "https://other.example/cb"
    scopes = {"bot": ["chat:write"], "bot_optional": ["users:read"]}
    oauth = {"redirect_urls": [callback], "scopes": scopes}
    manifest = {"display_information": {"name": "Other"}, "oauth_config": oauth}
    made = manager.apps_manifest_create(manifest=manifest)
    theirs = {key: made["credentials"][key] for key in ("client_id", "client_secret")}
    page = f"{made['oauth_authorize_url']}&redirect_uri={urllib.parse.quote(callback, safe='')}"
    code = {"code": allow(page), "redirect_uri": callback}
    refused("invalid_code", client().oauth_v2_access, **code, **APP)
    code["code"] = allow(page)
    other = client(client().oauth_v2_access(**code, **theirs)["access_token"])
    assert other.auth_test()["app_id"] == made["app_id"]
    posted = other.chat_postMessage(channel="U0DEMOBEN", text="a")
    assert posted["message"]["app_id"] == made["app_id"]
    refused("client_id_token_mismatch", other.apps_uninstall, **APP)
    # The old client secret works for a day.
    new = control(f"apps/{made['app_id']}/client-secret", {})
    assert new["client_secret"] != theirs["client_secret"]
    client().oauth_v2_access(code=allow(page), redirect_uri=callback, **theirs)
    credentials = {"client_id": new["client_id"], "client_secret": new["client_secret"]}
    assert other.apps_uninstall(**credentials)["uninstalled"]
    refused("account_inactive", other.auth_test)
    manager.apps_manifest_delete(app_id=made["app_id"])


def other_teams():
    """Workspaces that the person chooses on the page, and a token for all of them."""
    assert control("teams", {"count": 3})["count"] == 3
    ids = [team["id"] for team in control("teams")]

    def install(**more):
        code = allow(install_page(SCOPES, **more))
        return client().oauth_v2_access(code=code, redirect_uri=CALLBACK, **APP)

    granted = install(team=ids[1])
    assert granted["team"]["id"] == ids[1]
    second = client(granted["access_token"])
    assert second.team_info()["team"]["id"] == second.auth_test()["team_id"] == ids[1]
    control("settings", {"org_wide": True}, "PATCH")
    granted = install()
    assert granted["is_enterprise_install"] and granted["team"] is None
    org = client(granted["access_token"])
    control(f"team-access?team={ids[1]}", {"granted": False})
    pages = org.auth_teams_list(limit=1)
    listed = [team["id"] for page in pages for team in page["teams"]]
    assert listed == [ids[0], ids[2]], listed
    refused("missing_argument", org.users_list)
    refused("team_access_not_granted", org.users_list, team_id=ids[1])
    assert org.users_list(team_id=ids[2], limit=4)["members"][0]["team_id"] == ids[2]
    assert org.auth_revoke(test=True)["revoked"] is False
    assert org.auth_revoke()["revoked"]
    control("settings", {"org_wide": False}, "PATCH")


def rotations():
    """Refresh tokens, and what the sandbox says about their use."""
    control("settings", {"token_rotation": True, "token_seconds": 5}, "PATCH")
    code = allow(install_page(SCOPES))
    pair = client().oauth_v2_access(code=code, redirect_uri=CALLBACK, **APP)
    assert pair["expires_in"] == 5
    for _ in range(2):
        old = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]}
        pair = client().oauth_v2_access(**old, **APP)
    told = control("refreshes")[-2:]
    assert [(one["overlapping"], one["alive"]) for one in told] == [(False, 1), (False, 1)], told
    control("settings", {"token_rotation": False, "token_seconds": 43_200}, "PATCH")


def move():
    """Workspaces that move into an organization, with new ids of their people."""
    slack = client(control("tokens", {"do": "issue", "scopes": SCOPES})["token"])
    control("migration", {"enterprise_id": "E0GRID"})
    refused("team_added_to_org", slack.auth_test)
    control("migration", method="DELETE")
    assert slack.auth_test()["enterprise_id"] == "E0GRID"
    ids = slack.migration_exchange(users=["U0DEMOADA"])["user_id_map"]
    assert ids == {"U0DEMOADA": "W0DEMOADA"}
    refused("user_not_found", slack.users_info, user="U0DEMOADA")


def installations(slack):
    control("settings", {"org_wide": True}, "PATCH")
    slack.migration_exchange(users=["U0DEMOADA"])
    assert slack.team_info()["team"]["enterprise_id"]
    control("settings", {"org_wide": False, "token_rotation": True}, "PATCH")
    assert slack.auth_teams_list()["teams"]
    pair = slack.oauth_v2_exchange(token=slack.token, **APP)
    again = client(pair["access_token"])
    assert again.auth_test()["expires_in"] > 0
    old = pair["refresh_token"]
    pair = client().oauth_v2_access(grant_type="refresh_token", refresh_token=old, **APP)
    again = client(pair["access_token"])
    control("settings", {"token_rotation": False}, "PATCH")
    assert again.auth_revoke()["revoked"]
    refused("token_revoked", again.auth_test)
    last = client(control("tokens", {"do": "issue", "scopes": SCOPES})["token"])
    assert last.apps_uninstall(**APP)["uninstalled"]
    refused("account_inactive", last.auth_test)


def shape(value, prefix=""):
    """The keys of an answer with their types, to the third level, except in values that the caller
    sent."""
    found = {}
    if isinstance(value, list):
        for item in value:
            join(found, shape(item, prefix))
    elif isinstance(value, dict) and prefix.count(".") <= 2:
        for key, inner in value.items():
            join(found, {prefix + key: {TYPES[type(inner)]}})
            if key not in SENT:
                join(found, shape(inner, f"{prefix}{key}."))
    return found


def join(found, more):
    for key, types in more.items():
        found.setdefault(key, set()).update(types)


def compare(method, found, facts):
    """The differences between the sandbox's answers of a method and Slack's."""
    known = {}
    for listed in (ANY, facts):
        for types, keys in listed.items():
            if types != "always":
                join(known, {key: set(types.split(" or ")) for key in keys.split()})
    for key, types in sorted(found.items()):
        if key not in known:
            yield f"{method}: Slack's answers have no {key}"
        elif types - known[key]:
            yield f"{method}: {key} is {sorted(types)}, and Slack's is {sorted(known[key])}"
    missing = {key for key in facts.get("always", "").split() if key not in found}
    excused = set(LACKING.get(method, ("", ""))[0].split())
    for key in sorted(missing - excused):
        yield f"{method}: Slack's answers always have {key}"
    for key in sorted(excused - missing):
        yield f"{method}: LACKING names {key} for no reason"


def main():
    vector = SignatureVerifier("8f742231b10e8888abcd99yyyzzz85a5")
    assert vector.generate_signature(timestamp="1", body="b").startswith("v0=")
    installed = authorize(client(), SCOPES)
    slack = client(installed["access_token"])
    assert slack.auth_test()["bot_id"] and slack.api_test()["ok"]
    people(slack)
    channels(slack)
    messages(slack)
    views(slack)
    sign_in(slack)
    pkce(slack)
    apps()
    other_apps()
    other_teams()
    installations(slack)
    rotations()
    move()
    missed = set(control("methods")) - set(answers)
    assert not missed, f"not called with Slack's SDK: {sorted(missed)}"
    found = {method: shape(data) for method, data in sorted(answers.items())}
    facts = json.loads(KEYS.read_text())
    faults = [f for method, keys in found.items() for f in compare(method, keys, facts[method])]
    assert not faults, "\n".join(["the sandbox answers otherwise than Slack:", *faults])
    count = sum(map(len, found.values()))
    print(f"Python: {len(found)} methods, {count} keys and their types as Slack's")


main()
