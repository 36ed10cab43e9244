"""The page in a real browser (Debian's chromium, headless): it draws, sorts, and asks nobody."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from reports import decimate, render
from tests.reports.factory import report_data

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt: chromium)"),
]


def browse(page, folder, *what, fragment=""):
    """Run chromium on the page; (stdout, console lines)."""
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
        f"--user-data-dir={folder}/profile",
        "--virtual-time-budget=20000",
        "--window-size=1280,1000", *what, f"file://{page}{fragment}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, re.findall(r'CONSOLE:?\S*\] (".*)', done.stderr)


class Dom(HTMLParser):
    """What the tests ask of the dumped page."""

    def __init__(self, html):
        super().__init__()
        self.elements = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def all(self, tag, **wanted):
        found = [attrs for name, attrs in self.elements if name == tag]
        return [a for a in found if all(a.get(k.rstrip("_")) == v for k, v in wanted.items())]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return render.render(report_data(), tmp_path_factory.mktemp("report") / "report.html")


def table_rows(html, name):
    body = html.split(f'id="{name}"')[1].split("<tbody>")[1].split("</tbody>")[0]
    return [row for row in body.split("<tr")[1:] if 'hidden=""' not in row.split(">")[0]]


def test_all_is_drawn_without_a_word_on_the_console_or_a_request(report, tmp_path):
    probe = """
<script>addEventListener('load', () => setTimeout(() => {
  document.body.dataset.fetched = performance.getEntriesByType('resource').map((e) => e.name);
}, 5000));</script></body>"""
    page = tmp_path / "probe.html"
    page.write_text(report.read_text(encoding="utf-8").replace("</body>", probe))
    html, console = browse(page, tmp_path, "--dump-dom")
    assert console == []
    dom = Dom(html)
    assert dom.all("body")[0]["data-fetched"] == ""
    assert dom.all("html")[0]["data-ready"] == "true"
    charts = [a for a in dom.all("div") if "data-spec" in a]
    assert len(dom.all("svg", class_="marks")) == len(charts) == 18
    assert all(a["role"] == "img" and a["aria-label"].endswith(".") for a in charts)
    assert len(dom.all("canvas")) == 2


def test_the_address_restores_the_view(report, tmp_path):
    fragment = (
        "#theme=dark&layer=8&sort=t-layers:4:desc&radio=LoRa&board=gap8&refused=no"
        "&wave.gap8=0.1_0.3"
    )
    html, console = browse(report, tmp_path, "--dump-dom", fragment=fragment)
    assert console == []
    dom = Dom(html)
    assert dom.all("html")[0]["data-theme"] == "dark"
    first = table_rows(html, "t-layers")[0]
    assert 'data-layer="8"' in first and 'aria-selected="true"' in first
    assert [a for a in dom.all("th") if a.get("aria-sort") == "descending"]
    shown = table_rows(html, "t-partitions")
    assert shown and all('data-board="gap8" data-refused="0"' in row for row in shown)
    # LoRa at 50 kbit/s: 3,072 bytes take 491.52 ms.
    assert ">492</td>" in shown[0]


def test_nonsense_in_the_address_is_named_and_ignored(report, tmp_path):
    fragment = "#layer=999&sort=t-none:1:up&radio=5G&wave.gap8=9_1"
    html, console = browse(report, tmp_path, "--dump-dom", fragment=fragment)
    assert Dom(html).all("html")[0]["data-ready"] == "true"
    named = {m.group(1) for line in console if (m := re.search(r"ignored (\S+)=", line))}
    assert named == {"layer", "sort", "radio", "wave.gap8"}


def test_sorting_picking_and_searching_by_events(report, tmp_path):
    script = """
<script>addEventListener('load', () => setTimeout(() => {
  const find = (s) => document.querySelector(s);
  find('#t-layers thead tr:last-child th:nth-child(5) button').click();
  find('#t-layers thead tr:last-child th:nth-child(5) button').click();
  find('#t-layers tbody tr[data-layer="3"] button').click();
  const search = find('#find-layer');
  search.value = 'depthwise'; search.dispatchEvent(new Event('input'));
  document.body.dataset.hash = location.hash;
  find('#theme').click();
}, 4000));</script></body>"""
    # The page's own policy lets inline scripts run, so the events come from inside.
    page = tmp_path / "driven.html"
    page.write_text(report.read_text(encoding="utf-8").replace("</body>", script))
    html, console = browse(page, tmp_path, "--dump-dom")
    assert console == []
    dom = Dom(html)
    address = dom.all("body")[0]["data-hash"]
    assert "sort=t-layers%3A4%3Aasc" in address and "layer=3" in address
    rows = table_rows(html, "t-layers")
    assert len(rows) == 17 and all("depthwise" in row for row in rows)
    assert dom.all("html")[0]["data-theme"] == "light"
    assert "hidden" not in dom.all("div", id="picked")[0]


def test_the_page_decodes_the_band_that_python_packed(tmp_path):
    samples = np.random.default_rng(5).normal(0.1, 0.02, 999)
    samples[500] = np.nan
    data = decimate.pack(decimate.band(samples, 4))
    wave = {
        "band": data.text, "buckets": data.buckets, "offset": data.offset_a, "step": data.step_a,
    }  # fmt: skip
    scripts = "".join((render.ASSETS / "js" / f"{n}.js").read_text() for n in ("state", "waveform"))
    page = tmp_path / "decode.html"
    page.write_text(
        f"<body><script>{scripts}\ndecodeBand({json.dumps(wave)}).then((band) => {{"
        "document.body.textContent = JSON.stringify(band); });</script></body>"
    )
    html, _ = browse(page, tmp_path, "--dump-dom")
    found = json.loads(html.split("<body>")[1].split("</body>")[0])
    expected = decimate.unpack(data)
    for name in ("low", "high"):
        shown = np.array([np.nan if v is None else v for v in found[name]])
        np.testing.assert_allclose(shown, getattr(expected, name) * 1e3, rtol=1e-9)


@pytest.mark.parametrize("size", ["390,3000", "1280,3000"])
def test_nothing_is_wider_than_the_window(report, tmp_path, size):
    probe = """
<script>addEventListener('load', () => setTimeout(() => {
  document.body.dataset.wide = document.documentElement.scrollWidth - innerWidth;
}, 5000));</script></body>"""
    page = tmp_path / "probe.html"
    page.write_text(report.read_text(encoding="utf-8").replace("</body>", probe))
    html, _ = browse(page, tmp_path, "--dump-dom", f"--window-size={size}")
    assert int(Dom(html).all("body")[0]["data-wide"]) <= 0


def test_it_prints(report, tmp_path):
    out = tmp_path / "report.pdf"
    browse(report, tmp_path, f"--print-to-pdf={out}", fragment="#theme=dark")
    assert out.read_bytes().startswith(b"%PDF") and out.stat().st_size > 100_000
