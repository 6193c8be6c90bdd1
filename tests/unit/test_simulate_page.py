"""The pages: they need nothing else, and every mark in their pictures is something that happened."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.quantity import Quota
from actors.simulate.batch import CANARIES, BatchResult, Trouble
from actors.simulate.catalogue import CATALOGUE
from actors.simulate.court import Breach
from actors.simulate.drawing import draw_script
from actors.simulate.kill import Kill
from actors.simulate.mutants import planted
from actors.simulate.page import differences, run_page, window
from actors.simulate.page_batch import batch_page
from actors.simulate.page_charts import Axis, Scale, steps, ticks
from actors.simulate.run import ORACLES, Result, Run
from actors.simulate.timeline import Timeline, View

VOID = {"meta", "link", "br", "path", "rect"}
FORBIDDEN = {"script", "img", "iframe", "object", "embed", "base", "form"}


class Page(HTMLParser):
    """Counts marks by chart, and refuses what a page that needs nothing else cannot have."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, str | None]] = []
        self.marks: dict[str, Counter[str]] = {}
        self.text = ""
        self.feed(text)
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in FORBIDDEN
        given = dict(attrs)
        assert not any(name.startswith("on") for name in given), "a script"
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert (given.get(name) or "data:").startswith("data:"), f"{tag} fetches {given[name]}"
        chart = given.get("data-chart")
        if chart is not None:
            self.marks[chart] = Counter()
        place = next((name for _, name in reversed(self.open) if name is not None), None)
        if place is not None:
            self.marks[place].update((given.get("class") or "").split())
            self.marks[place][tag] += 1
        if tag not in VOID:
            self.open.append((tag, chart))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open[-1][0] == tag, f"{self.open[-1][0]} is closed by {tag}"
            self.open.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        assert "@import" not in data
        assert "url(" not in data
        self.text += data


def view_of(seed: int) -> View:
    run = Run(draw_script(seed))
    timeline = Timeline(run)
    return timeline.finish(run.play())


@pytest.fixture(scope="module")
def lively() -> View:
    """A seed with a kill and faults of all three sides."""
    for seed in range(1, 200):
        faults = draw_script(seed).faults
        if "P6" in faults and {id_[0] for id_ in faults} >= {"A", "B", "P"}:
            return view_of(seed)
    raise AssertionError("no seed draws P6 beside faults of the API and of the backend")


# --- one run ----------------------------------------------------------------------------------------------------------
def test_every_call_is_a_dot_in_the_picture_of_the_quota(lively: View) -> None:
    marks = Page(run_page(lively, "./run simulate")).marks["quota"]

    assert marks["good"] + marks["refused"] == len(lively.arrivals) > 3
    assert marks["refused"] == sum(not 200 <= each.code < 300 for each in lively.arrivals)
    assert marks["limit"] == 1


def test_every_fault_has_its_row_and_every_strike_its_dot(lively: View) -> None:
    page = Page(run_page(lively, "./run simulate"))

    assert tuple(each.id for each in lively.faults) == lively.script.faults
    assert page.marks["faults"]["row"] == len(lively.faults) + 1, "the last is the axis"
    assert page.marks["faults"]["strike"] == sum(len(each.struck) for each in lively.faults)
    assert page.marks["faults"]["point"] + page.marks["faults"]["fault"] == sum(len(f.bars) for f in lively.faults)


def test_every_cluster_has_its_three_pictures(lively: View) -> None:
    marks = Page(run_page(lively, "./run simulate")).marks

    for each in lively.clusters:
        assert marks[f"status {each.name}"]["true-healthy"] == 1
        assert {f"queue {each.name}", f"wait {each.name}"} <= set(marks)


def test_every_start_and_end_of_actors_and_processes_is_marked(lively: View) -> None:
    marks = Page(run_page(lively, "./run simulate")).marks["actors"]
    shown = [mark for mark in lively.marks if mark.at_s <= lively.end_s]

    assert len(lively.lives) > 1, "it was killed"
    assert marks["life"] == len(lively.lives)
    assert marks["sign"] == len(shown)
    assert Counter(mark.what for mark in shown)["started"] == marks["started"]


def test_what_the_tracks_say_at_the_end_is_what_the_servers_hold() -> None:
    run = Run(draw_script(7))
    timeline = Timeline(run)
    view = timeline.finish(run.play())
    truth = run.stage.truth

    for each in view.clusters:
        parent = next((key for key in truth.parents if key.name == each.name), None)
        if parent is not None:
            status = run.stage.status(parent) or {}
            assert each.said_healthy[-1][1] == status["healthy"] == each.true_healthy[-1][1]
            assert each.said_total[-1][1] == status["total"] == truth.total(parent) == each.true_total[-1][1]


def test_the_quota_is_never_exceeded_in_the_picture_either(lively: View) -> None:
    quota = lively.script.settings.quota
    track = window([each.at_s for each in lively.arrivals], quota)

    assert max(value for _, value in track) <= quota.calls


def test_a_breach_is_named_drawn_on_every_chart_and_repeated_by_the_command() -> None:
    with planted("quota-is-a-fixed-window"):
        view = next(view for view in map(view_of, range(1, 60)) if view.result.breaches)
    page = Page(run_page(view, f"./run simulate --seed {view.result.seed}"))

    assert view.result.breaches[0].text in page.text
    assert f"./run simulate --seed {view.result.seed}" in page.text
    assert view.story[-1].strip() in page.text
    for name, marks in page.marks.items():
        assert marks["breach"] >= 1, f"{name} does not show it"


def test_no_word_of_a_run_is_taken_for_a_tag(lively: View) -> None:
    from attrs import evolve

    evil = Breach(1.0, "<b>oracle", "a&b", "</style><script>alert(1)</script>")
    view = evolve(lively, result=evolve(lively.result, breaches=(evil,)), story=("<i>line",))

    assert "</style><script>alert(1)</script>" in Page(run_page(view, "<command>")).text


# --- a batch ----------------------------------------------------------------------------------------------------------
def batch(*, broken: bool) -> BatchResult:
    total = BatchResult()
    for seed in range(1, 5):
        breaches = (Breach(1.5, "quota-kept", "quota", f"<{seed} calls>"),) if broken and seed % 2 else ()
        total.add(
            Result(
                seed=seed, breaches=breaches, trace="x", virtual_s=9.0, messages=1, fired={"A1": seed},
                exercised={each.name: 1 for each in ORACLES}, calls=1, repairs=1, writes=1,
            )
        )  # fmt: skip
    total.canaries = [Kill(name=name, seeds=1, seed=None if broken else 1, oracle="truth") for name in CANARIES]
    return total


def test_a_batch_shows_a_row_for_every_fault_and_oracle() -> None:
    total = batch(broken=False)
    page = Page(batch_page(total, [], [("seeds", 4)], lambda seed: f"again {seed}"))

    assert page.marks["faults"]["tr"] == len(CATALOGUE) + 1
    assert page.marks["oracles"]["tr"] == len(ORACLES) + 1
    assert page.marks["faults"]["thin"] == 0
    assert "every promise was kept" in page.text


def test_a_batch_shows_each_seed_that_failed_the_thin_rows_and_what_was_in_the_way() -> None:
    total = batch(broken=True)
    total.troubles.append(Trouble(4, "Traceback …\nKeyError: 'x'"))
    thin = total.thin(1)
    page = Page(batch_page(total, thin, [], lambda seed: f"again {seed}"))

    assert page.marks["faults"]["thin"] == len(CATALOGUE) - 1
    assert "again 1" in page.text
    assert "again 3" in page.text
    assert "again 2" not in page.text
    assert "KeyError: 'x'" in page.text
    assert f"The planted bug {CANARIES[0]} was not found" in page.text


# --- drawing ----------------------------------------------------------------------------------------------------------
@given(st.lists(st.floats(0, 100, allow_nan=False), max_size=40).map(sorted), st.sampled_from([1.0, 2.0, 10.0]))
@settings(deadline=None)
def test_the_window_holds_as_many_arrivals_as_there_were_in_it(arrivals: list[float], window_s: float) -> None:
    for at_s, value in window(arrivals, Quota(1, window_s)):
        assert value == sum(1 for each in arrivals if each <= at_s and at_s < each + window_s)


def test_differences_are_the_times_when_the_status_is_not_the_truth() -> None:
    truth = [(0.0, 3.0), (2.0, 2.0), (8.0, 3.0)]
    said = [(0.0, -1.0), (1.0, 3.0), (4.0, 2.0), (9.0, 3.0)]

    assert differences(truth, said, 20.0) == [(2.0, 4.0), (8.0, 9.0)]
    assert differences(truth, said[:2], 20.0) == [(2.0, 8.0)]
    assert differences(truth, [], 20.0) == []


@pytest.mark.parametrize(
    ("top", "about", "expected"),
    [(10, 5, [0, 2, 4, 6, 8, 10]), (0.9, 3, [0, 0.5]), (148.3, 10, [0, 20, 40, 60, 80, 100, 120, 140]), (0, 3, [0])],
)
def test_ticks_are_at_round_numbers(top: float, about: int, expected: list[float]) -> None:
    assert ticks(top, about) == expected


def test_a_track_is_drawn_as_steps_with_gaps_where_there_is_no_value() -> None:
    axis, scale = Axis(10.0, 10.0), Scale(4.0)

    drawn = steps("x", [(0.0, 2.0), (5.0, 4.0), (6.0, -1.0), (8.0, 1.0)], axis, scale)

    assert drawn == '<path class="x" d="M0.0 50.0H500.0V0.0H600.0M800.0 75.0H1000.0"/>'
    assert steps("x", [(0.0, -1.0)], axis, scale) == ""
