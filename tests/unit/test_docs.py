"""The papers say what is there."""

import re
from pathlib import Path

import pytest

from pms_iot.settings import names_of

ROOT = Path(__file__).parents[2]
PAPERS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(paper: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", paper.read_text())
    assert [link for link in links if not (paper.parent / link).exists()] == []


def test_every_setting_is_explained() -> None:
    explained = set(re.findall(r"`(PMS_\w+)`", (ROOT / "docs/settings.md").read_text()))
    clock = {"PMS_CLOCK_ANCHOR_NS", "PMS_CLOCK_START_NS", "PMS_CLOCK_FACTOR"}
    examples = {"PMS_EDGE_UPLINK__HOST", "PMS_MQTT__PASSWORD_FILE"}
    assert explained - clock - examples == names_of()


def test_both_readmes_have_the_same_parts_and_commands() -> None:
    english, chinese = ((ROOT / name).read_text() for name in ("README.md", "README.zh-CN.md"))
    assert english.count("\n## ") == chinese.count("\n## ")
    assert commands(english) == commands(chinese)


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {
        c.split()[1] for c in commands((ROOT / "README.md").read_text()) if c.startswith("make ")
    }
    assert named and named <= targets


def commands(text: str) -> list[str]:
    """The shell lines of all code blocks, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]


def test_no_file_names_a_registry_or_a_place_on_a_machine() -> None:
    listed = [
        p for p in ROOT.rglob("*") if p.suffix in {".md", ".py", ".yaml", ".toml", ".lock", ".env"}
    ]
    ours = [p for p in listed if ".venv" not in p.parts and p != Path(__file__)]
    forbidden = re.compile(r"pypi\.org|files\.pythonhosted|registry\.npmjs|/root/|/home/")
    assert [str(p) for p in ours if forbidden.search(p.read_text(errors="replace"))] == []
