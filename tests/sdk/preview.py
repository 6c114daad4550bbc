"""The page of a preview, as a browser draws it.

Usage: preview.py HERALD CHROMIUM GRPCURL. The page is opened as Herald serves it, so that its
policy is in force: the message must be drawn. Then it is measured in frames of 390 px, in light and
in dark mode. Its headers forbid frames, so a proxy serves the same bytes without these headers.
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
<iframe src="PAGE" style="width: 390px; height: 4000px; border: 0"></iframe><script>
addEventListener("load", async () => {
  const frame = document.querySelector("iframe");
  const drawn = () => frame.contentDocument.querySelector("article.message");
  while (!drawn()) await new Promise((next) => setTimeout(next, 50));
  const page = frame.contentDocument;
  const box = (part) => part.getBoundingClientRect().toJSON();
  const style = frame.contentWindow.getComputedStyle(page.body);
  const measured = {
    width: page.documentElement.scrollWidth,
    parts: [...page.querySelectorAll("main *")].map(box).filter((part) => part.width > 2),
    back: style.backgroundColor,
    text: style.color,
  };
  document.body.textContent = `MEASURED ${JSON.stringify(measured)}`;
});
</script>"""


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


def preview(port):
    """The link to a preview."""
    request = {
        "tenant_id": "acme", "event_type": "task.assigned", "open_in_browser": True,
        "data": {"task": {"name": NAME}, "process": {"name": "Einarbeitung"}}, "locale": "de",
    }
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
                check(preview(found.group(1)), folder)
            finally:
                herald.terminate()
                herald.wait(30)
        finally:
            sandbox.terminate()
            sandbox.wait(30)


main()
