"""The simulator's page in a real browser, at a telephone's width and at a desk's: no overflow, no message, all marks drawn.

The page is shown in a frame of the wanted width (a browser's own window has a least width), with a probe appended that tells
what was laid out. Needs Chromium or Chrome: on the PATH, or named by MUSTER_TEST_BROWSER.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from actors.simulate.batch import run_batch
from actors.simulate.drawing import draw_script
from actors.simulate.mutants import planted
from actors.simulate.page import run_page
from actors.simulate.page_batch import batch_page
from actors.simulate.run import Run
from actors.simulate.timeline import Timeline, View

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=4000",
    "--window-size=1600,1200", "--dump-dom",
)  # fmt: skip
PHONE, DESK = 390, 1440
PROBE = """<script>
addEventListener("load", () => {
  const shown = each => { const box = each.getBoundingClientRect(); return box.width > 0 || box.height > 0 };
  const right = Math.max(...[...document.querySelectorAll("body *")].filter(each => !each.closest("svg"))
    .map(each => each.getBoundingClientRect().right));
  const charts = {};
  for (const chart of document.querySelectorAll("[data-chart]")) {
    const marks = charts[chart.dataset.chart] = {};
    for (const kind of ["good", "refused", "strike", "point", "fault", "sign", "true-healthy", "breach", "life"])
      marks[kind] = [...chart.querySelectorAll("." + kind)].filter(shown).length;
    marks.rows = [...chart.querySelectorAll(".row, tr")].filter(shown).length;
  }
  const small = [...document.querySelectorAll("body *")]
    .filter(each => !each.closest("svg") && each.innerText && shown(each) && parseFloat(getComputedStyle(each).fontSize) < 12)
    .map(each => each.className);
  const ticks = [...document.querySelectorAll(".xlabels")].some(labels => {
    const boxes = [...labels.children].filter(shown).map(each => each.getBoundingClientRect());
    return boxes.some((box, n) => n && box.left < boxes[n - 1].right);
  });
  parent.postMessage({width: innerWidth, scroll: document.documentElement.scrollWidth, right, charts, small, ticks,
    background: getComputedStyle(document.body).backgroundColor}, "*");
});
</script>"""
FRAME = """<!doctype html><link rel="icon" href="data:,"><pre id="found"></pre>
<script>addEventListener("message", told => { document.getElementById("found").textContent = JSON.stringify(told.data) })
</script><iframe src="page.html" style="width:WIDTHpx;height:1000px;border:0"></iframe>"""


@pytest.fixture(scope="module")
def browser() -> str:
    named = os.environ.get("MUSTER_TEST_BROWSER")
    found = named or next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)} is on the PATH, and MUSTER_TEST_BROWSER is not set")
    return found


def look(browser: str, page: str, width: int, folder: Path) -> dict[str, Any]:
    """What the probe found, and that nothing was said to the console."""
    (folder / "page.html").write_text(page.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(FRAME.replace("WIDTH", str(width)), encoding="utf-8")
    ended = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", frame.as_uri()],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    told = [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
    assert told == []
    match = re.search(r'<pre id="found">(.+?)</pre>', ended.stdout, re.DOTALL)
    assert match is not None, f"the page was not shown: {ended.stderr[-2000:]}"
    found: dict[str, Any] = json.loads(unescape(match.group(1)))
    assert found["width"] == width
    return found


def view_of(seed: int) -> View:
    run = Run(draw_script(seed))
    timeline = Timeline(run)
    return timeline.finish(run.play())


def fits(found: dict[str, Any], width: int) -> None:
    assert found["scroll"] <= width, "the page scrolls sideways"
    assert found["right"] <= width + 0.5, "something hangs over the edge"
    assert found["small"] == [], "type smaller than 12 px"
    assert found["ticks"] is False, "two numbers of an axis overlap"


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_run_s_page_fits_and_shows_every_mark(browser: str, tmp_path: Path, width: int) -> None:
    view = next(
        view for view in map(view_of, range(1, 300))
        if len(view.lives) > 1 and len(view.faults) >= 3 and any(mark.what == "crashed" for mark in view.marks)
    )  # fmt: skip
    found = look(browser, run_page(view, "./run simulate --seed 1"), width, tmp_path)

    fits(found, width)
    charts = found["charts"]
    assert charts["quota"]["good"] + charts["quota"]["refused"] == len(view.arrivals)
    assert charts["faults"]["strike"] == sum(len(each.struck) for each in view.faults)
    assert charts["faults"]["point"] + charts["faults"]["fault"] == sum(len(each.bars) for each in view.faults)
    assert charts["actors"]["sign"] == sum(mark.at_s <= view.end_s for mark in view.marks)
    assert charts["actors"]["life"] == len(view.lives)
    for each in view.clusters:
        assert charts[f"status {each.name}"]["true-healthy"] == 1


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_failing_run_s_page_fits_and_shows_the_breach_on_every_chart(
    browser: str, tmp_path: Path, width: int
) -> None:
    with planted("quota-is-a-fixed-window"):
        view = next(view for view in map(view_of, range(1, 60)) if view.result.breaches)
    found = look(browser, run_page(view, "./run simulate --seed 1"), width, tmp_path)

    fits(found, width)
    assert all(marks["breach"] >= 1 for marks in found["charts"].values()), found["charts"]


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_batch_s_page_fits(browser: str, tmp_path: Path, width: int) -> None:
    with planted("quota-is-a-fixed-window"):
        total = run_batch(range(1, 20), canaries=())
    page = batch_page(total, total.thin(1), [("seeds", total.seeds)], lambda seed: f"./run simulate --seed {seed}")
    found = look(browser, page, width, tmp_path)

    fits(found, width)
    assert found["charts"]["faults"]["rows"] == sum(row.what == "fault" for row in total.coverage()) + 1


def test_the_page_is_dark_where_the_reader_s_machine_is(browser: str, tmp_path: Path) -> None:
    page = run_page(view_of(3), "./run simulate --seed 3")
    light = look(browser, page, DESK, tmp_path)["background"]
    dark = look(browser, page.replace("(prefers-color-scheme: dark)", "all"), DESK, tmp_path)["background"]

    assert brightness(light) > 240
    assert brightness(dark) < 40


def brightness(colour: str) -> float:
    """The mean of "rgb(r, g, b)"."""
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3
