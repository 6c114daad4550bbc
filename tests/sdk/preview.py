"""The page of a preview, as a browser draws it.

Usage: preview.py HERALD CHROMIUM GRPCURL. The page is opened as Herald serves it, so that its
policy is in force: the message must be drawn, and so must each kind of block that a template may
have. Then it is measured in frames of 390 px, in light and in dark mode. Its headers forbid frames,
so a proxy serves the same bytes without these headers.
"""

import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request

HERALD, CHROMIUM, GRPCURL = sys.argv[1:]
WIDTH = 390
NAME = "Prüfe den <b>Vertrag</b> & " + "unterschreibe_" * 12
MEASURE = """<!doctype html><meta charset="utf-8"><body>
<iframe src="PAGE" style="width: 390px; height: 8000px; border: 0"></iframe><script>
addEventListener("load", async () => {
  const frame = document.querySelector("iframe");
  const drawn = () => frame.contentDocument.querySelector("article.message");
  while (!drawn()) await new Promise((next) => setTimeout(next, 50));
  const page = frame.contentDocument;
  // A chart is drawn again for the width that it got.
  const fits = (chart) => Number(chart.firstChild.getAttribute("width")) === chart.clientWidth;
  const settled = () => [...page.querySelectorAll(".frame")].every(fits);
  while (!settled()) await new Promise((next) => setTimeout(next, 50));
  // Tables and carousels scroll inside themselves.
  const scrolls = (part) => part.parentElement.closest(".scroller, .cards");
  const box = (part) => part.getBoundingClientRect().toJSON();
  const style = frame.contentWindow.getComputedStyle(page.body);
  const measured = {
    width: page.documentElement.scrollWidth,
    parts: [...page.querySelectorAll("main *")].filter((part) => !scrolls(part)).map(box)
      .filter((part) => part.width > 2),
    back: style.backgroundColor,
    text: style.color,
  };
  document.body.textContent = `MEASURED ${JSON.stringify(measured)}`;
});
</script>"""


def text(words, kind="mrkdwn"):
    return {"type": kind, "text": words}


LABEL = text("Open", "plain_text")
BUTTON = {"type": "button", "text": LABEL, "url": "{{ link.url }}"}
IMAGE = {"type": "image", "image_url": "https://images.invalid/1.png", "alt_text": "a picture"}
CARD = {
    "type": "card", "hero_image": IMAGE, "icon": IMAGE, "title": text("{{ task.name }}"),
    "subtitle": text("Step 3"), "body": text("Due on *Friday*"), "actions": [BUTTON],
}
TASK = {"type": "task_card", "task_id": "1", "title": "{{ task.name }}", "status": "in_progress"}
ROWS = [[text(cell, "raw_text")] * 6 for cell in ["A column"] + ["A value"] * 6]
ROWS[1][0] = text("{{ task.name }}", "raw_text")
WEEKS = ["Week %d" % week for week in range(9)]
SERIES = {"name": "Done", "data": [{"label": week, "value": len(week)} for week in WEEKS]}
# Each kind of block that a template may have, and the classes of its element.
SAMPLES = [
    ("actions", {"elements": [BUTTON]}),
    ("card", CARD),
    ("carousel", {"elements": [CARD, CARD, CARD]}),
    ("container standard", {"title": LABEL, "child_blocks": [
        {"type": "section", "text": text("Inside"), "accessory": BUTTON}]}),
    ("context", {"elements": [text("A note")]}),
    ("table data", {"type": "data_table", "caption": "Tasks", "rows": ROWS}),
    ("chart", {"type": "data_visualization", "title": "Tasks", "chart": {
        "type": "line", "series": [SERIES], "axis_config": {"categories": WEEKS}}}),
    ("chart", {"type": "data_visualization", "title": "Tasks", "chart": {
        "type": "pie", "segments": [{"label": "Done", "value": 3}, {"label": "Late", "value": 1}],
    }}),
    ("divider", {}),
    ("header", {"text": LABEL}),
    ("picture", IMAGE),
    ("plan", {"title": "Plan", "tasks": [TASK, {**TASK, "task_id": "2", "status": "error"}]}),
    ("section", {"text": text("{{ task.name }}"), "fields": [text("One"), text("Two")]}),
    ("table", {"rows": ROWS}),
    ("task-card", TASK),
]


def started(command, ready, environment=None):
    """A process, and what it printed when it was ready."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **(environment or {})},
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


def samples():
    """A block of each kind of BLOCK_KINDS, which the program knows."""
    blocks = [{"type": classes.split()[0], **block} for classes, block in SAMPLES]
    root = pathlib.Path(__file__).resolve().parents[2]
    known = (root / "src/domain/message/render/kit.rs").read_text()
    known = re.search(r"BLOCK_KINDS: Kinds = &\[(.*?)\];", known, re.DOTALL).group(1)
    kinds = {block["type"] for block in blocks}
    assert kinds == set(re.findall(r'"(\w+)"', known)), "SAMPLES must have every kind"
    return blocks


def preview(port, template=None):
    """The link to a preview of the template, or of the built-in message."""
    request = {
        "tenant_id": "acme", "event_type": "task.assigned", "open_in_browser": True,
        "data": {"task": {"name": NAME}, "process": {"name": "Einarbeitung"}}, "locale": "de",
    }
    if template:
        request["template"] = template
    person = {"tenant_id": "acme", "people": [{"user_id": "u-1"}]}
    for method, message in [("UpsertPeople", person), ("PreviewTemplate", request)]:
        answer = subprocess.run(
            [GRPCURL, "-plaintext", "-d", json.dumps(message), f"127.0.0.1:{port}",
             f"herald.v1.AdminService/{method}"],
            capture_output=True, text=True, timeout=60, check=False,
        )
        assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)["browserUrl"]


def chromium(folder, url, dark):
    """The document after its scripts have run. Scheme 0 is the dark one."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--user-data-dir={folder}/profile", f"--blink-settings=preferredColorScheme={1 - dark}",
        "--virtual-time-budget=10000", "--dump-dom", url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout


def proxy(base):
    """A server with the same pages, which a frame may show, and a page that measures one."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            if self.path.startswith("/measure"):
                body = MEASURE.replace("PAGE", self.path.partition("?")[2]).encode()
                kind = "text/html; charset=utf-8"
            else:
                with urllib.request.urlopen(base + self.path, timeout=20) as answer:
                    body, kind = answer.read(), answer.headers["content-type"]
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def brightness(color):
    return sum(int(part) for part in re.findall(r"\d+", color)[:3]) / 3


def check(url, folder):
    drawn = chromium(folder, url, dark=False)
    assert '<article class="message" lang="de">' in drawn, drawn
    assert "Prüfe den &lt;b&gt;Vertrag&lt;/b&gt; &amp; unterschreibe" in drawn, "as text only"
    assert "Aufgabe öffnen" in drawn and "This link works until" in drawn, drawn
    measure(url, folder)


def check_kinds(url, folder):
    """No block may appear as one that the page does not know."""
    drawn = chromium(folder, url, dark=False)
    assert "This link works until" in drawn, drawn
    assert "unsupported" not in drawn, re.findall(r"unsupported[^<]*", drawn)
    for classes, _ in SAMPLES:
        assert f'class="block {classes}"' in drawn, f"no block {classes}"
    measure(url, folder)


def measure(url, folder):
    base, path = re.fullmatch(r"(http://[^/]+)(/.*)", url).groups()
    beside = proxy(base)
    for dark in (False, True):
        shown = chromium(folder, f"{beside}/measure?{path}", dark)
        found = re.search(r"MEASURED (\{.*\})", shown)
        assert found, f"Chromium measured nothing:\n{shown}"
        sizes = json.loads(found.group(1))
        assert sizes["width"] <= WIDTH, f"the page is {sizes['width']} px wide"
        outside = [part for part in sizes["parts"] if part["right"] > WIDTH + 0.5]
        assert not outside, f"parts leave the page: {outside}"
        back, text = brightness(sizes["back"]), brightness(sizes["text"])
        assert (back < 64 < 128 < text) if dark else (text < 64 < 192 < back), sizes
        print(f"the page of a preview fits into {WIDTH} px: {sizes['text']} on {sizes['back']}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        sandbox, found = started([HERALD, "sandbox", "--address", "127.0.0.1:0"], r"http://\S+")
        settings = [
            "rpc.insecure=true", f"slack.base_url={found.group()}", "app.client_id=1.2",
            "app.client_secret=s", "app.signing_secret=s", "rpc.address=127.0.0.1:0",
            "rpc.health_address=127.0.0.1:0", "http.address=127.0.0.1:0", "log.format=json",
            f"store.data_dir={pathlib.Path(folder, 'data')}",
        ]
        flags = [part for setting in settings for part in ("--set", setting)]
        try:
            herald, found = started([HERALD, "serve", *flags], r'"rpc":"127.0.0.1:(\d+)"')
            try:
                port = found.group(1)
                check(preview(port), folder)
                form = {"text": "Samples", "blocks_json": json.dumps(samples())}
                check_kinds(preview(port, {"locale": "de", "blocks": form}), folder)
            finally:
                herald.terminate()
                herald.wait(30)
        finally:
            sandbox.terminate()
            sandbox.wait(30)


main()
