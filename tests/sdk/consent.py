"""The sandbox's consent page on a telephone in dark mode, as a browser lays it out.

Usage: consent.py HERALD CHROMIUM. Chromium's own window cannot be as narrow as a telephone, so the
page is shown in a frame of 390 px. A second frame has the page with a planted fault, columns that
are too wide, which must be found: otherwise nothing was measured.
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
      scopes: [...page.querySelectorAll("li code")].map(box),
      back: style.backgroundColor,
      text: style.color,
    };
  });
  document.body.textContent = `MEASURED ${JSON.stringify(measured)}`;
});
"""


def consent_page():
    """The page, from a sandbox of its own."""
    command = [HERALD, "sandbox", "--address", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sandbox:
        try:
            base = re.search(r"http://\S+", sandbox.stdout.readline()).group()
            query = {"client_id": "1234567890.0987654321", "scope": ",".join(SCOPES), "state": "s"}
            page = f"{base}oauth/v2/authorize?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(page, timeout=20) as answer:
                return answer.read().decode()
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
    page = consent_page()
    assert COLUMNS in page, "the planted fault replaces the columns"
    sizes, planted = measured([page, page.replace(COLUMNS, "20rem 20rem")])
    assert len(sizes["scopes"]) == len(SCOPES), sizes
    assert list(faults(planted)), "the planted fault was not found"
    found = list(faults(sizes))
    assert not found, "\n".join(found)
    assert brightness(sizes["back"]) < 64 < 128 < brightness(sizes["text"]), sizes
    print(f"the consent page fits into {WIDTH} px, and is dark: {sizes['back']}")


main()
