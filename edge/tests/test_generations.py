"""Pushed configurations on disk: whole or not there, and never stuck on trial."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pms_edge.remote.generations import Generations


def text_in_use(gateway_file: Path) -> str:
    """What an agent that starts now runs, and what its next start would run without an end."""
    place = Generations(gateway_file).start()
    return (place / "gateway.yaml").read_text() if place else "the gateway file"


@pytest.fixture
def generations(tmp_path):
    return Generations(tmp_path / "gateway.yaml")


def push(generations: Generations, name: str) -> None:
    place = generations.stage(name, {"gateway.yaml": f"text of {name}", "profiles/a.yaml": "x"})
    generations.try_next(place, name, 1)


def test_a_new_configuration_is_on_trial_once_and_then_gone(generations):
    push(generations, "a")
    assert text_in_use(generations.gateway_file) == "text of a"
    again = Generations(generations.gateway_file)
    assert again.start() is None
    assert again.state.reported["status"] == "rolled_back"
    assert Generations(generations.gateway_file).start() is None


def test_a_confirmed_one_stays_and_is_what_a_rollback_returns_to(generations):
    for name in ("a", "b"):
        push(generations, name)
        generations = Generations(generations.gateway_file)
        generations.start()
        generations.confirm({"id": name, "status": "applied"})
    assert text_in_use(generations.gateway_file) == "text of b"
    push(generations, "c")
    for expected in ("text of c", "text of b", "text of b"):
        assert text_in_use(generations.gateway_file) == expected
    folders = {p.name for p in (generations.gateway_file.parent / "gateway.d").iterdir()}
    assert "state.json" in folders and not folders & {"staging"}


def test_a_start_that_cannot_write_its_state_runs_the_previous_configuration(tmp_path):
    if os.geteuid() == 0:
        state = tmp_path / "gateway.d" / "state.new"
        push(Generations(tmp_path / "gateway.yaml"), "a")
        state.mkdir()  # what it would write to
    else:
        push(Generations(tmp_path / "gateway.yaml"), "a")
        (tmp_path / "gateway.d").chmod(0o500)
    assert Generations(tmp_path / "gateway.yaml").start() is None
    (tmp_path / "gateway.d").chmod(0o700)


@pytest.mark.parametrize("body", ["", "{", "[]", '{"active": 5}', '{"more": 1}', "\x00"])
def test_an_unreadable_state_means_the_gateway_file(tmp_path, body):
    (tmp_path / "gateway.d").mkdir()
    (tmp_path / "gateway.d" / "state.json").write_text(body)
    assert text_in_use(tmp_path / "gateway.yaml") == "the gateway file"


def cut_at(number: int):
    """Ends this process, as a power cut would, at the given file operation."""
    seen = 0

    def watch(event: str, args: tuple) -> None:
        nonlocal seen
        written = event == "open" and isinstance(args[1], str) and args[1] != "r"
        if written or event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove"):
            seen += 1
            if seen == number:
                os._exit(9)

    return watch


def test_a_cut_at_any_file_operation_leaves_the_old_or_the_new_whole(tmp_path):
    outcomes = []
    for cut in range(1, 60):
        file = tmp_path / str(cut) / "gateway.yaml"
        file.parent.mkdir()
        generations = Generations(file)
        push(generations, "old")
        generations.start()
        generations.confirm({"id": "old", "status": "applied"})
        child = os.fork()
        if child == 0:
            sys.addaudithook(cut_at(cut))
            push(generations, "new")
            generations = Generations(file)
            generations.start()
            generations.confirm({"id": "new", "status": "applied"})
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        first, second = text_in_use(file), text_in_use(file)
        assert first in ("text of old", "text of new")
        assert first == second or (first, second) == ("text of new", "text of old")
        outcomes.append(second)
        if status == 0:
            break
    assert outcomes[0] == "text of old" and outcomes[-1] == "text of new"
    assert len(outcomes) > 8


@given(st.lists(st.sampled_from(["push", "start", "confirm", "kill"]), max_size=12))
@settings(max_examples=100, deadline=None)
def test_nothing_unconfirmed_survives_two_starts(tmp_path_factory, steps):
    file = tmp_path_factory.mktemp("g") / "gateway.yaml"
    generations, confirmed, started = Generations(file), "the gateway file", False
    for number, step in enumerate(steps):
        if step == "push":
            push(generations, f"{number}")
            started = False
        elif step == "start":
            generations = Generations(file)
            generations.start()
            started = True
        elif step == "confirm" and started and generations.on_trial:
            generations.confirm({"id": "", "status": "applied"})
            confirmed = f"text of {generations.state.active}"
        elif step == "kill":
            generations = Generations(file)
    text_in_use(file)
    assert text_in_use(file) == confirmed
