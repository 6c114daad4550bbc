"""Connecting a workspace as an administrator's browser shows it.

Usage: connect.py HERALD CHROMIUM GRPCURL [FOLDER]. A person follows connect links in Chromium, from
the page of Herald's to the sandbox's consent page and back: to the platform, a page served here, or
to a page of Herald's. Each page of Herald's must fit into 390 px, in light and in dark mode, and
must name the platform and no call. With FOLDER, pictures of the pages are kept there.

Chromium is driven over a pipe (--remote-debugging-pipe): each message is JSON and a zero byte.
"""

import base64
import fcntl
import http.server
import json
import os
import pathlib
import re
import select
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

HERALD, CHROMIUM, GRPCURL, *REST = sys.argv[1:]
FOLDER = pathlib.Path(REST[0]) if REST else None
PLATFORM = "Acme Learning"
WIDTH = 390
# Far longer than any step takes.
PATIENCE = 60
MEASURE = """(() => {
  const style = getComputedStyle(document.body);
  return {
    width: document.documentElement.scrollWidth,
    outside: [...document.querySelectorAll("body *")].map((part) => part.getBoundingClientRect())
      .filter((box) => box.width > 0 && box.right > innerWidth + 0.5).length,
    back: style.backgroundColor,
    text: style.color,
  };
})()"""


def started(command, ready):
    """A process, and what it printed when it was ready."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    printed = ""
    for line in process.stdout:
        printed += line
        found = re.search(ready, line)
        if found:
            # The pipe must not fill up.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return process, found
    raise AssertionError(f"{command} ended:\n{printed}")


def stopped(process):
    process.terminate()
    process.wait(PATIENCE)


class Chromium:
    """The browser, and the messages that it sends."""

    def __init__(self, folder):
        mine, theirs = os.pipe(), os.pipe()
        # Numbers that the shell's redirections to 3 and 4 do not overwrite.
        into, out = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (mine[0], theirs[1]))
        flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={folder}/profile", "--remote-debugging-pipe", "about:blank",
        ]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{into} 4>&{out}', CHROMIUM, *flags],
            pass_fds=(into, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for end in (mine[0], theirs[1], into, out):
            os.close(end)
        self.input, self.output = mine[1], theirs[0]
        self.number, self.rest, self.events = 0, b"", []

    def close(self):
        self.call("Browser.close")
        self.process.wait(PATIENCE)
        os.close(self.input)
        os.close(self.output)

    def message(self, until):
        """The next message."""
        while b"\0" not in self.rest:
            left = until - time.monotonic()
            assert left > 0 and select.select([self.output], [], [], left)[0], "Chromium is silent"
            more = os.read(self.output, 1 << 16)
            assert more, "Chromium ended"
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **params):
        self.number += 1
        request = {"id": self.number, "method": method, "params": params}
        if session:
            request["sessionId"] = session
        os.write(self.input, json.dumps(request).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            message = self.message(until)
            if message.get("id") == self.number:
                assert "error" not in message, f"{method}: {message}"
                return message["result"]
            self.events.append(message)

    def event(self, method, session):
        """Waits for an event of a page, and forgets those before it."""
        until = time.monotonic() + PATIENCE
        while True:
            while self.events:
                event = self.events.pop(0)
                if event.get("method") == method and event.get("sessionId") == session:
                    return event
            self.events.append(self.message(until))


class Person:
    """A person with a browser of their own: with other cookies than any other person's."""

    def __init__(self, chromium):
        self.chromium = chromium
        self.context = chromium.call("Target.createBrowserContext")["browserContextId"]
        target = chromium.call(
            "Target.createTarget", url="about:blank", browserContextId=self.context)
        attached = chromium.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        self.call("Page.enable")

    def call(self, method, **params):
        return self.chromium.call(method, self.session, **params)

    def arrive(self, act):
        """Does something that leads to another page, and waits until that is loaded."""
        self.chromium.events.clear()
        act()
        self.chromium.event("Page.loadEventFired", self.session)
        return self

    def open(self, url):
        return self.arrive(lambda: self.call("Page.navigate", url=url))

    def run(self, script):
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, selector, words=None):
        """Clicks the only element with these words; any, if none are given."""
        wanted = json.dumps([selector, words])
        script = f"""(([selector, words]) => {{
          const found = [...document.querySelectorAll(selector)]
            .filter((one) => words === null || one.textContent.trim() === words);
          if (found.length !== 1) throw new Error(`${{found.length}} of ${{selector}} ${{words}}: `
            + document.body.innerText);
          found[0].click();
        }})({wanted})"""
        return self.arrive(lambda: self.run(script))

    def text(self):
        return self.run("document.body.innerText")

    def url(self):
        return self.run("location.href")

    def outcome(self):
        """The status and the reason that the platform's page got, and nothing else."""
        url = urllib.parse.urlsplit(self.url())
        assert url.path == "/settings", f"not the platform: {self.url()}\n{self.text()}"
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        assert sorted(query) == ["reason", "status", "tab"], query
        return query["status"][0], query["reason"][0]

    def look(self, name, *words):
        """Herald's page has these words, fits a telephone, and names no call."""
        text = self.text()
        for word in (*words, PLATFORM):
            assert word in text, f"{name}: no {word!r} in\n{text}"
        assert "herald.v1." not in text and "BeginConnect" not in text, text
        for dark in (False, True):
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            self.call("Emulation.setEmulatedMedia", features=[scheme])
            for width in (1200, WIDTH):
                self.call("Emulation.setDeviceMetricsOverride", width=width, height=844,
                          deviceScaleFactor=1, mobile=False)
                sizes = self.run(MEASURE)
                assert sizes["width"] <= width and not sizes["outside"], f"{name}: {sizes}"
                back, ink = brightness(sizes["back"]), brightness(sizes["text"])
                assert (back < 64 < 128 < ink) if dark else (ink < 64 < 192 < back), sizes
                self.picture(f"{name}-{width}-{'dark' if dark else 'light'}")
        return self

    def picture(self, name):
        if FOLDER:
            FOLDER.mkdir(parents=True, exist_ok=True)
            shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
            (FOLDER / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    def approve(self, link):
        return self.open(link).press("a.way", "Continue to Slack").press("button.allow")

    def cancel(self, link):
        self.open(link).press("a.way", "Continue to Slack")
        return self.press("button", "Cancel")


def brightness(color):
    return sum(int(part) for part in re.findall(r"\d+", color)[:3]) / 3


def platform():
    """The platform's settings page; returns its origin."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            body = b"<!doctype html><title>Settings</title><h1>The platform's settings</h1>"
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


class Herald:
    """The server, with a database of its own; it can be started again."""

    def __init__(self, sandbox, folder, origin, address):
        self.data = pathlib.Path(folder, "data")
        self.origin = origin
        settings = [
            "rpc.insecure=true", f"slack.base_url={sandbox}",
            "app.client_id=1234567890.0987654321", "app.client_secret=sandbox-client-secret",
            "app.signing_secret=s", f"app.display_name={PLATFORM}", "rpc.address=127.0.0.1:0",
            "rpc.health_address=127.0.0.1:0", f"http.address={address}", "log.format=json",
            f'http.return_origins=["{origin}"]', f"store.data_dir={self.data}",
        ]
        self.flags = [part for setting in settings for part in ("--set", setting)]
        self.start()

    def start(self):
        command = [HERALD, "serve", *self.flags]
        self.process, found = started(command, r'"rpc":"127.0.0.1:(\d+)"')
        self.port = found.group(1)

    def stop(self):
        stopped(self.process)

    def call(self, method, service="AdminService", **message):
        answer = subprocess.run(
            [GRPCURL, "-plaintext", "-d", json.dumps(message), f"127.0.0.1:{self.port}",
             f"herald.v1.{service}/{method}"],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def link(self, back=True, **terms):
        if back:
            terms["return_url"] = f"{self.origin}/settings?tab=slack"
        return self.call("BeginConnect", **{"tenant_id": "acme", **terms})["authorizeUrl"]

    def expire(self):
        """Lets every link expire. The file belongs to one process, so the server is stopped."""
        self.stop()
        files = [file for file in self.data.rglob("*") if is_database(file)]
        assert len(files) == 1, files
        with sqlite3.connect(files[0]) as database:
            database.execute("UPDATE connect_attempts SET expires_at = created_at - 1")
        database.close()
        self.start()


def free_address():
    """An address for Herald: its app in Slack names it, and the links of a server that is started
    again lead to it."""
    with http.server.HTTPServer(("127.0.0.1", 0), None) as free:
        return f"127.0.0.1:{free.server_port}"


def sandbox_for(address):
    """The sandbox, whose app leads back to Herald at this address, and its own address."""
    back = f"http://{address}/slack/oauth/callback"
    command = [HERALD, "sandbox", "--address", "127.0.0.1:0", "--redirect-url", back]
    sandbox, found = started(command, r"http://\S+")
    return sandbox, found.group()


def is_database(file):
    if not file.is_file():
        return False
    with file.open("rb") as content:
        return content.read(15) == b"SQLite format 3"


def tell(sandbox, path, message, method="POST"):
    request = urllib.request.Request(
        f"{sandbox}_sandbox/{path}", json.dumps(message).encode(),
        {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read()


def configure(sandbox, **options):
    tell(sandbox, "settings", options, "PATCH")


def back_to_the_platform(person, herald):
    person.open(herald.link(expected_team_id="T0SANDBOX01"))
    person.look("start-for-one-workspace", "Connect Slack to “acme”", "for one workspace")
    person.press("nav a:not(.way)", f"Back to {PLATFORM}")
    assert person.url() == f"{herald.origin}/settings?tab=slack", person.url()

    assert person.cancel(herald.link()).outcome() == ("denied", "access_denied")
    link = herald.link()
    assert person.approve(link).outcome() == ("connected", "")
    assert person.open(link).outcome() == ("used", "link_used")
    wrong = herald.link(expected_team_id="T0ELSEWHERE")
    assert person.approve(wrong).outcome() == ("wrong_workspace", "other_workspace")
    late = herald.link()
    herald.expire()
    assert person.open(late).outcome() == ("expired", "link_expired")


def pages_of_herald(chromium, person, herald):
    person.open(herald.link(back=False)).look("start", "Connect Slack to “acme”", "approval")
    person.cancel(herald.link(back=False)).look("canceled", "Not connected", "start again")
    link = herald.link(back=False)
    person.approve(link).look("connected", "is connected", "Go back to")
    person.open(link).look("used", "used already", "See in")
    wrong = herald.link(back=False, expected_team_id="T0ELSEWHERE")
    person.approve(wrong).look("wrong-workspace", "not the right workspace")
    stranger = Person(chromium)
    link = herald.link(back=False)
    person.open(link).press("a.way", "Continue to Slack")
    stranger.open(person.url()).press("button.allow")
    stranger.look("another-browser", "another browser", "open the connect link again")
    late = herald.link(back=False)
    herald.expire()
    person.open(late).look("expired", "has expired", "Start again")


def slack_refuses(person, herald, sandbox):
    def strike(kind):
        tell(sandbox, "faults", {"method": "oauth.v2.access", "times": 1, "kind": kind})

    refusal = {"error": {"code": "bad_client_secret"}}
    strike(refusal)
    assert person.approve(herald.link()).outcome() == ("refused", "bad_client_secret")
    strike(refusal)
    person.approve(herald.link(back=False))
    person.look("refused", "Slack refused to connect", "client secret", "with a new link")
    strike("reset")
    assert person.approve(herald.link()).outcome() == ("failed", "no_answer")
    strike("reset")
    person.approve(herald.link(back=False)).look("no-answer", "did not answer", "start again")


def another_tenant(person, herald):
    other = {"tenant_id": "hooli"}
    assert person.approve(herald.link(**other)).outcome() == ("in_use", "workspace_in_use")
    person.approve(herald.link(back=False, **other))
    person.look("in-use", "This workspace is in use", "choose another one")
    assert "workspace" not in herald.call("GetWorkspace", **other)


def leaving(person, herald):
    left = herald.call("Disconnect", "WorkspaceService", tenant_id="acme")
    assert left["disconnected"] and left["revoked"], left
    assert "workspace" not in herald.call("GetWorkspace", tenant_id="acme")
    assert person.approve(herald.link()).outcome() == ("connected", "")
    workspace = herald.call("GetWorkspace", tenant_id="acme")["workspace"]
    assert workspace["state"] == "WORKSPACE_STATE_ACTIVE", workspace
    # The next connection begins with a new token, without the permissions of this one.
    herald.call("Disconnect", "WorkspaceService", tenant_id="acme")


def missing_permissions(person, herald, sandbox):
    configure(sandbox, granted_scopes=["chat:write"])
    status, codes = person.approve(herald.link()).outcome()
    assert status == "missing_scopes" and "members" in codes.split(","), codes
    person.approve(herald.link(back=False)).look("missing", "is connected", "not granted")
    configure(sandbox, granted_scopes=None)
    assert person.approve(herald.link()).outcome() == ("connected", "")


def approval(chromium, person, herald, sandbox):
    configure(sandbox, require_approval=True)
    person.approve(herald.link())
    assert "was sent" in person.text(), person.text()
    attempt = herald.call("GetWorkspace", tenant_id="acme")["connectAttempt"]
    assert attempt["state"] == "CONNECT_STATE_AWAITING_CALLBACK", attempt
    administrator = Person(chromium)
    administrator.open(f"{sandbox}admin/apps").press("button", "Approve")
    assert "Approved" in administrator.text(), administrator.text()
    # Slack reports nothing: the person connects again, with a new link.
    assert person.approve(herald.link()).outcome() == ("connected", "")
    configure(sandbox, require_approval=False)


def own_app(person, herald, sandbox):
    token = json.loads(tell(sandbox, "tokens", {"do": "issue_configuration"}))["token"]
    made = herald.call(
        "CreateSlackAppManifest", "WorkspaceService", tenant_id="initech",
        configuration_token=token, action="MANIFEST_ACTION_CREATE")
    person.approve(made["authorizeUrl"]).look("own-app", "is connected", "Go back to")
    apps = {
        tenant: herald.call("GetWorkspace", tenant_id=tenant)["workspace"]["appId"]
        for tenant in ("acme", "initech")
    }
    assert apps["initech"] == made["app"]["appId"] != apps["acme"], apps


def organization(person, herald, sandbox):
    tell(sandbox, "teams", {"count": 3})
    configure(sandbox, org_wide=True)
    # Another tenant, which has no workspace yet.
    link = herald.call("BeginConnect", tenant_id="globex", allow_shared_workspace=True)
    person.approve(link["authorizeUrl"]).look("choose", "Which workspace do you want to connect?")
    person.press("nav.choices a:last-child").look("chosen", "is connected")
    workspace = herald.call("GetWorkspace", tenant_id="globex")["workspace"]
    assert workspace["teamId"].startswith("T"), workspace


def main():
    with tempfile.TemporaryDirectory() as folder:
        address = free_address()
        sandbox, base = sandbox_for(address)
        herald = Herald(base, folder, platform(), address)
        chromium = Chromium(folder)
        try:
            person = Person(chromium)
            back_to_the_platform(person, herald)
            pages_of_herald(chromium, person, herald)
            slack_refuses(person, herald, base)
            another_tenant(person, herald)
            leaving(person, herald)
            missing_permissions(person, herald, base)
            approval(chromium, person, herald, base)
            own_app(person, herald, base)
            organization(person, herald, base)
        finally:
            chromium.close()
            herald.stop()
            stopped(sandbox)
    print("every way of connecting leads on, and its pages fit into 390 px")


if __name__ == "__main__":
    main()
