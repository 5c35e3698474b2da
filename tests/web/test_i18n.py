"""Both languages are complete."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2.ext import extract_from_ast
from starlette.testclient import TestClient

import pms_iot.web
from pms_iot.web.i18n import CHINESE, choose_language
from pms_iot.web.render import ENVIRONMENT
from tests.web.conftest import LogIn
from tests.web.plant import Plant

WEB = Path(pms_iot.web.__file__).parent
PAGES = ("/", "/alerts", "/alerts?state=cleared", "/alerts?severity=P4", "/alerts/3", "/alerts/5",
         "/a/EL-01", "/a/WT-01", "/wo", "/wo?view=list", "/wo/1", "/wo/4", "/m", "/pm", "/ledger", "/ledger/EL-01", "/detection", "/alerts?state=held", "/alerts/7", "/ledger/EL-02", "/admin", "/nowhere")  # fmt: skip


def _in_templates() -> Iterator[str]:
    for path in (WEB / "templates").glob("*.html"):
        source = path.read_text("utf-8")
        for _line, _function, message in extract_from_ast(ENVIRONMENT.parse(source), ("_",)):
            first = message[0] if isinstance(message, tuple) else message
            if first is not None:
                yield first
        yield from re.findall(r'visit\.say\("([^"]+)"', source)


def _in_code() -> Iterator[str]:
    for path in WEB.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                function = node.func
                name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")  # fmt: skip
                if name in ("N_", "say"):
                    yield node.args[0].value


def test_every_message_has_a_chinese_text_and_none_is_left_over():
    used = {*_in_templates(), *_in_code()}
    assert used - CHINESE.keys() == set()
    assert CHINESE.keys() - used == set()


def test_both_languages_fill_in_the_same_values():
    fields = re.compile(r"\{(\w*)\}")
    for english, chinese in CHINESE.items():
        assert sorted(fields.findall(english)) == sorted(fields.findall(chinese)), english
        assert chinese.strip(), english


@pytest.mark.parametrize("path", PAGES)
def test_a_page_speaks_one_language(log_in: LogIn, path: str):
    """Only names and codes that are data may be in the other alphabet."""
    client = log_in("manager")
    client.cookies.set("pms_language", "zh")
    chinese = client.get(path).text
    assert '<html lang="zh-CN"' in chinese
    shown = _words(chinese)
    own = {key for key in CHINESE if re.search(r"[a-z]{4,} [a-z]{2,}", key) and "{" not in key}
    assert [sentence for sentence in own if sentence in shown] == []
    client.cookies.set("pms_language", "en")
    english = client.get(path).text
    assert '<html lang="en"' in english
    chinese_only = {text for text in CHINESE.values() if len(text) >= 4 and "{" not in text}
    assert [text for text in chinese_only if text in _words(english)] == []


def _words(page: str) -> str:
    body = page[page.index("<main") : page.index("</main>")]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_the_first_language_is_the_browsers():
    assert choose_language(None, "en-GB,en;q=0.9,zh;q=0.8") == "en"
    assert choose_language(None, "fr,zh-CN;q=0.5,en;q=0.4") == "zh"
    assert choose_language(None, "fr;q=x, ;, *") == "zh"
    assert choose_language("en", "zh") == "en"
    assert choose_language("xx", "en") == "en"


def test_the_switch_stays_on_the_page_and_is_remembered(plant: Plant, log_in: LogIn):
    client = log_in("viewer")
    answer = client.post("/language", data={"language": "zh", "next": "/alerts?severity=P1"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/alerts?severity=P1"
    assert "未恢复" in client.get("/alerts").text
    assert "用户名" in TestClient(plant.app, headers={"accept-language": "zh"}).get("/login").text
