"""A parent's new version: news, or what we have written ourselves."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from actors.core.echo import is_news, stands
from actors.core.model import Parent, ParentKey, ParentSpec, Wish, status_text

OLD = Parent(
    kind="C", key=ParentKey("ns", "c"), uid="u", version=5, generation=1, spec=ParentSpec(), status={"healthy": 1}
)


def news(*, awaited: bool = False, wished: tuple[dict[str, Any], ...] = (), pending: bool = False, **new: Any) -> bool:
    return is_news(
        OLD, evolve(OLD, **{"version": 6, **new}), awaited=awaited, wished=map(Wish, wished), pending=pending
    )


@pytest.mark.parametrize("new", [{"generation": 2}, {"deleting": True}, {"spec": ParentSpec(paused=True)}])
def test_what_people_change_is_news_whatever_we_wait_for(new: dict[str, Any]) -> None:
    assert news(**new, wished=({"healthy": 1},), pending=True)


def test_the_same_version_again_is_news_only_with_another_spec() -> None:
    """Another process may read the spec of one version otherwise."""
    assert not news(version=5, status={"healthy": 9}, awaited=True, pending=True)
    assert news(version=5, spec=ParentSpec(paused=True))


def test_what_a_conflict_spoke_of_is_looked_at_even_if_it_is_as_we_wish() -> None:
    assert news(awaited=True, wished=({"healthy": 1},))


def test_the_echo_of_a_wish_is_none() -> None:
    """Whichever of them it is; and fields of others do not count."""
    wished = ({"healthy": 2}, {"healthy": 3})

    assert not news(status={"healthy": 3, "theirs": 1}, wished=wished, pending=True)
    assert news(status={"healthy": 4}, wished=wished, pending=True)


def test_an_echo_is_known_as_text_whatever_the_order_in_which_we_wrote_it() -> None:
    wish = Wish({"total": 2, "healthy": 1})
    echo = evolve(OLD, version=6, status=status_text(6, {"healthy": 1, "total": 2}))

    assert (wish.status, wish) == ({"total": 2, "healthy": 1}, Wish({"healthy": 1, "total": 2}))
    assert echo.holds(wish)
    assert stands(wish, echo)
    other = evolve(echo, status=status_text(6, {"healthy": 1, "theirs": 1, "total": 2}))
    assert not other.holds(wish)
    assert stands(wish, other), "fields of others do not count"
    assert not stands(wish, evolve(echo, status=status_text(6, {"healthy": 1, "total": 3})))


def test_a_wish_is_plain_values_on_a_tape() -> None:
    """There what looks like a credential is masked, which cannot be done in a text."""
    wish = Wish({"password": "hunter2", "total": 2})
    other = Wish({})
    other.of_plain(wish.plain())

    assert (wish.plain(), other) == ({"status": {"password": "hunter2", "total": 2}}, wish)


def test_a_status_that_others_changed_is_news_and_one_that_is_as_before_is_none() -> None:
    assert news(status={"healthy": 2})
    assert not news()
    assert news(pending=True), "what we wish for is not there yet"
