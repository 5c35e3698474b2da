"""The pages in a real Chromium: live values, charts, a repair on a phone, both languages, nothing cut off."""

import io
import os
import shutil
from collections.abc import Callable, Generator
from datetime import timedelta

import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from pms_iot.kernel.db import transaction
from pms_iot.workorders.tables import WorkOrder
from tests.web.plant import NOW, Plant, password_of

pytestmark = pytest.mark.browser
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}
PAGES = ("/", "/alerts", "/alerts?state=cleared", "/alerts/3", "/a/EL-01", "/a/EL-01?point=mode&span=1h",
         "/a/WT-01", "/wo", "/wo?view=list", "/wo/1", "/wo/4", "/m", "/pm", "/ledger", "/ledger/EL-01", "/detection", "/alerts?state=held", "/alerts/7", "/admin", "/nowhere")  # fmt: skip
Open = Callable[..., Page]


@pytest.fixture(scope="module")  # while it lives, its event loop runs in this thread
def browser() -> Generator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed, and CI=true asks for it")
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console said; 404 of the page that is not there is expected."""
    return []


@pytest.fixture
def visit(browser: Browser, served: str, complaints: list[str]) -> Generator[Open]:
    """visit(name, size, language) -> a logged-in page."""
    contexts = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "404" not in message.text:
            complaints.append(message.text)

    def log_in(
        name: str,
        size: dict[str, int] = DESKTOP,
        language: str = "en-GB",
        *,
        scripts: bool = True,
    ) -> Page:
        context = browser.new_context(
            base_url=served, viewport=size, locale=language, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto("/login")
        page.fill("[name=username]", name)
        page.fill("[name=password]", password_of(name))
        page.click("main button")
        page.wait_for_url(lambda url: not url.endswith("/login"))
        return page

    yield log_in
    for context in contexts:
        context.close()


def test_a_live_value_changes_without_a_reload(plant: Plant, visit: Open, complaints: list[str]):
    page = visit("viewer")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    value = page.locator(f'[data-series="{plant.series("EL-01", "motor_temp")}"]')
    expect(value).to_have_text("86.4")
    plant.arrive("EL-01", {"motor_temp": 93.25}, NOW + timedelta(seconds=1))
    expect(value).to_have_text("93.25")
    assert complaints == []


def test_a_second_tab_gets_every_value_too(plant: Plant, visit: Open):
    page = visit("viewer")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    plant.arrive("EL-01", {"motor_temp": 88.5}, NOW + timedelta(seconds=1))
    other = page.context.new_page()
    other.goto("/a/EL-01")
    row = other.locator(f'.values [data-series="{plant.series("EL-01", "motor_temp")}"]')
    expect(row).to_have_text("88.5")
    plant.arrive("EL-01", {"motor_temp": 77.5}, NOW + timedelta(seconds=2))
    expect(row).to_have_text("77.5")
    page.close()
    plant.arrive("EL-01", {"motor_temp": 66.5}, NOW + timedelta(seconds=3))
    expect(row).to_have_text("66.5")


def test_a_new_alarm_appears_on_the_open_list(plant: Plant, visit: Open, complaints: list[str]):
    page = visit("viewer")
    page.goto("/alerts")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    expect(page.locator("article.group")).to_have_count(2)
    rule = next(rule for rule in plant.packs["fire_panel"].rules if rule.points)
    plant.fire("FA-01", rule.id, NOW, limit=None, template="equals", value=1.0)
    plant.deps.live.changed("alerts")
    expect(page.locator("article.group")).to_have_count(3)
    assert complaints == []


def test_the_chart_of_an_asset_is_drawn_and_reads_out(visit: Open, complaints: list[str]):
    page = visit("viewer")
    page.goto("/a/EL-01?point=motor_temp&span=24h")
    figure = page.locator("figure.chart")
    expect(figure).to_have_attribute("data-drawn", "yes")
    canvas = figure.locator("canvas")
    painted = canvas.evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 == 3 && v)"
    )
    assert painted
    figure.locator(".u-over").hover()
    expect(figure.locator(".readout")).to_contain_text("Motor temperature")
    page.select_option("[name=span]", "1h")
    page.wait_for_url("**span=1h")
    expect(page.locator("figure.chart")).to_have_attribute("data-drawn", "yes")
    assert complaints == []


def test_the_chart_moves_on_with_the_clock(plant: Plant, visit: Open, complaints: list[str]):
    page = visit("viewer")
    page.goto("/a/EL-01?point=motor_temp&span=1h")
    figure = page.locator("figure.chart")
    expect(figure).to_have_attribute("data-drawn", "yes")
    end = int(figure.get_attribute("data-end") or 0)
    plant.deps.clock.advance(600)  # the plant's clock is a ManualClock
    with page.expect_response("**/api/v1/series/**", timeout=20_000) as answer:
        plant.arrive("EL-01", {"motor_temp": 95.0}, NOW + timedelta(seconds=600))
    assert answer.value.ok
    expect(figure).to_have_attribute("data-end", str(end + 600_000))
    assert complaints == []


def test_acknowledging_on_the_list_needs_no_reload(visit: Open, complaints: list[str]):
    page = visit("wang")
    page.goto("/alerts")
    page.evaluate("window.untouched = true")
    line = page.locator("ul.lines li", has_text="Motor overheating")
    line.get_by_role("button", name="Acknowledge").click()
    expect(line).to_contain_text("Acknowledged by wang")
    assert page.evaluate("window.untouched"), "the page was loaded anew"
    assert complaints == []


def test_a_technician_repairs_on_a_phone(plant: Plant, visit: Open, complaints: list[str]):
    page = visit("wang", PHONE, "zh-CN")
    assert page.url.endswith("/m")
    order = page.locator("article", has_text="半月维护保养").first
    order.get_by_role("button", name="接单").click()
    page.get_by_role("button", name="开始处理").click()
    expect(page.locator(".head")).to_contain_text("处理中")
    page.locator(".finish button").click()
    expect(page.locator(".problem")).to_contain_text("以下检查项尚未填写")
    first = page.locator("ol.checklist > li").first
    first.get_by_role("radio", name="不合格", exact=True).check()
    expect(page.locator("ol.checklist > li.r-fail")).to_have_count(1)
    expect(page.locator("#checklist-title")).to_contain_text("1 /")
    page.locator("#photos ~ form input[type=file]").set_input_files(
        {"name": "p.jpg", "mimeType": "image/jpeg", "buffer": _jpeg()}
    )
    expect(page.locator("#photos ~ .evidence img")).to_have_count(1)
    page.fill("textarea[id^=note-]", "门锁触点已清洁")
    page.get_by_role("button", name="添加备注").click()
    expect(page.locator("ol.timeline")).to_contain_text("门锁触点已清洁")
    count = page.locator("ol.checklist > li").count()
    for n in range(1, count):
        item = page.locator("ol.checklist > li").nth(n)
        reading = item.locator("label.reading input")
        if reading.count():
            reading.fill("1.5")
        item.get_by_role("radio", name="合格", exact=True).check()
        expect(page.locator("#checklist-title")).to_contain_text(f"{n + 1} / {count}")
    for n in range(count):
        camera = page.locator("ol.checklist > li").nth(n).locator("input[type=file]")
        if camera.count():
            camera.set_input_files({"name": "p.jpg", "mimeType": "image/jpeg", "buffer": _jpeg()})
            expect(page.locator("ol.checklist > li").nth(n).locator("img")).to_have_count(1)
    page.locator(".finish button").click()
    expect(page.locator(".head")).to_contain_text("已关闭")
    with transaction(plant.deps.engine) as session:
        order_id = int(page.url.rsplit("/", 1)[1])
        assert session.get_one(WorkOrder, order_id).status == "closed"
    assert [text for text in complaints if "422" not in text] == []


def test_the_technicians_page_works_without_scripts(visit: Open):
    page = visit("wang", PHONE, scripts=False)
    page.locator("article", has_text="Half-month service").first.get_by_role(
        "button", name="Take"
    ).click()
    page.get_by_role("button", name="Start work").click()
    page.locator("ol.checklist > li").first.get_by_role("radio", name="Pass").check()
    page.get_by_role("button", name="Save the checklist").click()
    expect(page.locator("#checklist-title")).to_contain_text("1 /")
    page.locator("#photos ~ form input[type=file]").set_input_files(
        {"name": "p.jpg", "mimeType": "image/jpeg", "buffer": _jpeg()}
    )
    page.locator("#photos ~ form").get_by_role("button", name="Upload").click()
    expect(page.locator("#photos ~ .evidence img")).to_have_count(1)
    page.get_by_role("button", name="Finish the work").click()
    expect(page.locator(".problem")).to_contain_text("not decided yet")


def _jpeg() -> bytes:
    kept = io.BytesIO()
    Image.new("RGB", (640, 480), "teal").save(kept, "JPEG")
    return kept.getvalue()


def test_the_language_switch_turns_the_page_where_it_is(visit: Open):
    page = visit("viewer")
    page.goto("/alerts?severity=P1")
    page.get_by_role("button", name="中文").click()
    expect(page.locator("h1")).to_have_text("告警")
    assert page.url.endswith("/alerts?severity=P1")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.get_by_role("button", name="English").click()
    expect(page.locator("h1")).to_have_text("Alarms")


@pytest.mark.parametrize("language", ["zh-CN", "en-GB"])
def test_no_page_is_wider_than_a_phone_or_lacks_the_basics(
    visit: Open, complaints: list[str], language: str
):
    page = visit("manager", PHONE, language)
    for path in PAGES:
        page.goto(path)
        if page.locator("figure.chart").count():
            expect(page.locator("figure.chart[data-drawn]")).to_have_count(1)
        width, room = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
        assert width <= room, f"{path} is {width} px wide"
        assert page.locator("h1").count() == 1, path
        assert page.title(), path
        nameless = page.evaluate(_NAMELESS)
        assert nameless == [], f"{path}: controls without a name: {nameless}"
    assert complaints == []


_NAMELESS = """[...document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a[href], img')]
  .filter(e => !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label') || e.getAttribute('alt')))
  .map(e => e.outerHTML.slice(0, 120))"""
