"""The sandbox's pages on a telephone in dark mode, as a browser lays them out.

They are the consent page, the one of Sign in with Slack, and the administrator's.

Usage: consent.py HERALD CHROMIUM. Chromium's own window cannot be as narrow as a telephone, so each
page is shown in a frame of 390 px. Another frame has the consent page with a planted fault, columns
that are too wide, which must be found: otherwise nothing was measured.
"""

import html
import itertools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

HERALD, CHROMIUM = sys.argv[1:]
WIDTH = 390
COLUMNS = "repeat(auto-fill,minmax(12.5rem,1fr))"
# Enough scopes for several columns, with the longest name.
SCOPES = """channels:history channels:join channels:manage channels:read channels:write.invites
chat:write chat:write.customize chat:write.public groups:history groups:write.invites im:history
im:write mpim:write.topic users.profile:read users:read users:read.email""".split()
# Those that the person can refuse, which have boxes to tick.
OPTIONAL = ["im:history", "users.profile:read"]
# Every part that takes room, and the texts of the scopes.
MEASURE = """
addEventListener("load", () => {
  const box = (part) => part.getBoundingClientRect().toJSON();
  const measured = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument;
    const style = frame.contentWindow.getComputedStyle(page.body);
    return {
      width: page.documentElement.scrollWidth,
      card: box(page.querySelector("main")),
      parts: [...page.querySelectorAll("main *")].map(box).filter((part) => part.width > 0),
      scopes: [...page.querySelectorAll("main code")].map(box),
      back: style.backgroundColor,
      text: style.color,
    };
  });
  document.body.textContent = `MEASURED ${JSON.stringify(measured)}`;
});
"""


def sandbox_pages():
    """The pages by name, from a sandbox of their own with several workspaces."""
    command = [HERALD, "sandbox", "--address", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sandbox:
        try:
            base = re.search(r"http://\S+", sandbox.stdout.readline()).group()

            def call(path, body=None, method=None):
                headers = {} if body is None else {"content-type": "application/json"}
                data = None if body is None else json.dumps(body).encode()
                request = urllib.request.Request(f"{base}{path}", data, headers, method=method)
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return answer.read().decode()

            call("_sandbox/teams", {"count": 3})
            call("_sandbox/settings", {"optional_scopes": OPTIONAL}, "PATCH")
            query = {"client_id": "1234567890.0987654321", "state": "s"}
            install = urllib.parse.urlencode({**query, "scope": ",".join(SCOPES)})
            sign_in = urllib.parse.urlencode({**query, "scope": "openid,profile"})
            pages = {"consent": call(f"oauth/v2/authorize?{install}")}
            pages["sign in"] = call(f"openid/connect/authorize?{sign_in}")
            call("_sandbox/settings", {"require_approval": True}, "PATCH")
            asked = f"{base}oauth/v2/authorize?{install}"
            with urllib.request.urlopen(asked, b"decision=request", timeout=20) as answer:
                assert "/admin/apps" in answer.read().decode()
            pages["administrator"] = call("admin/apps")
            return pages
        finally:
            sandbox.terminate()


def measured(pages):
    """The sizes of each page in a frame of its own; so high that no scroll bar takes room."""
    size = f"width: {WIDTH}px; height: 4000px; border: 0"
    frames = "".join(f'<iframe style="{size}" srcdoc="{html.escape(p)}"></iframe>' for p in pages)
    document = f'<!doctype html><meta charset="utf-8"><body>{frames}<script>{MEASURE}</script>'
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "frames.html")
        file.write_text(document)
        # Without a sandbox, because Chromium has none for root. Scheme 0 is the dark one.
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={folder}/profile", "--blink-settings=preferredColorScheme=0",
            "--virtual-time-budget=5000", "--dump-dom", file.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"MEASURED (\[.*\])", done.stdout)
    assert found, f"Chromium measured nothing ({done.returncode}):\n{done.stdout}\n{done.stderr}"
    return json.loads(found.group(1))


def faults(sizes):
    """What a person with a narrow screen would see that is wrong."""
    card = sizes["card"]
    if sizes["width"] > WIDTH:
        yield f"the page is {sizes['width']} px wide"
    for part in sizes["parts"]:
        if part["left"] < card["left"] - 0.5 or part["right"] > card["right"] + 0.5:
            yield f"a part leaves the card: {part}"
    for one, other in itertools.combinations(sizes["scopes"], 2):
        across = one["left"] < other["right"] and other["left"] < one["right"]
        down = one["top"] < other["bottom"] and other["top"] < one["bottom"]
        if across and down:
            yield f"two scopes overlap: {one} {other}"


def brightness(color):
    return sum(int(part) for part in re.findall(r"\d+", color)[:3]) / 3


def main():
    pages = sandbox_pages()
    consent = pages["consent"]
    assert COLUMNS in consent, "the planted fault replaces the columns"
    *sizes, planted = measured([*pages.values(), consent.replace(COLUMNS, "20rem 20rem")])
    assert len(sizes[0]["scopes"]) == len(SCOPES), sizes[0]
    assert list(faults(planted)), "the planted fault was not found"
    for name, size in zip(pages, sizes, strict=True):
        found = list(faults(size))
        assert not found, "\n".join([name, *found])
        assert brightness(size["back"]) < 64 < 128 < brightness(size["text"]), (name, size)
        print(f"the page {name} fits into {WIDTH} px, and is dark: {size['back']}")


main()
