"""Who reaches what: deny by default."""

import pytest
from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from pms_iot.web.security import is_cross_site
from tests.web.conftest import LogIn
from tests.web.plant import Plant, password_of

# /metrics has rules of its own: test_operations.py
OPEN = {
    "/login",
    "/logout",
    "/language",
    "/livez",
    "/readyz",
    "/metrics",
    "/static/{digest}/{name:path}",
}
VALUES = {"order_id": "1", "alert_id": "3", "code": "EL-01", "asset": "EL-01", "point": "motor_temp",
          "document_id": "1", "photo_id": "1", "occurrence_id": "1", "replacement_id": "1", "digest": "x", "name": "x"}  # fmt: skip
MANAGING = {"/wo/{order_id}/assign", "/wo/{order_id}/close", "/wo/{order_id}/reopen",
            "/wo/{order_id}/cancel", "/wo/{order_id}/outcome", "/alerts/{alert_id}/accept",
            "/detection", "/api/v1/detection/trust",
            "/api/v1/series/{asset}/{point}/counter/replacements/{replacement_id}", "/pm/{occurrence_id}/skip", "/admin", "/admin/adopt"}  # fmt: skip


def _routes(plant: Plant) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for context in iter_route_contexts(plant.app.routes):
        methods = getattr(context.original_route, "methods", None) or set()
        found += [(method, context.path or "") for method in sorted(methods - {"HEAD"})]
    return found


def _ask(client: TestClient, method: str, path: str):
    url = path.replace("{name:path}", "x").format(**VALUES)
    if path.startswith(("/api/v1/series", "/api/v1/ledger/assets")):
        url += "?start=0&end=1000"
    return client.request(method, url)


def test_nobody_gets_in_without_logging_in(plant: Plant):
    client = TestClient(plant.app, follow_redirects=False)
    routes = _routes(plant)
    assert len(routes) > 25
    for method, path in routes:
        if path in OPEN:
            continue
        answer = _ask(client, method, path)
        if method == "GET" and not path.startswith("/api"):
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login?next="), path
        else:
            assert answer.status_code == 401, (method, path)


def test_a_viewer_changes_nothing_but_language_and_log_in(plant: Plant, log_in: LogIn):
    client = log_in("viewer")
    for method, path in _routes(plant):
        if method == "POST" and path not in OPEN:
            assert _ask(client, method, path).status_code == 403, path
    assert client.get("/admin").status_code == 403
    assert client.get("/m").status_code == 403
    for path in (
        "/",
        "/alerts",
        "/alerts/3",
        "/wo",
        "/wo/1",
        "/pm",
        "/a/EL-01",
        "/ledger",
        "/ledger/EL-01",
    ):
        assert client.get(path).status_code == 200, path


def test_a_technician_does_not_manage(plant: Plant, log_in: LogIn):
    client = log_in("wang")
    for method, path in _routes(plant):
        if path in MANAGING:
            assert _ask(client, method, path).status_code == 403, path


def test_a_technician_works_only_on_own_orders(log_in: LogIn):
    assert log_in("wang").post("/wo/1/take").status_code == 303
    for step in ("start", "checklist"):
        assert log_in("li").post(f"/wo/1/{step}").status_code == 403
    assert log_in("li").post("/wo/1/finish", data={"outcome": "true_fault"}).status_code == 403


def test_log_in_leads_home_or_back_but_never_away(plant: Plant):
    client = TestClient(plant.app, follow_redirects=False)

    def place(name: str, target: str) -> str:
        form = {"username": name, "password": password_of(name), "next": target}
        return client.post("/login", data=form).headers["location"]

    assert place("wang", "/") == "/m"
    assert place("manager", "/") == "/"
    assert place("manager", "/alerts?severity=P1") == "/alerts?severity=P1"
    for away in ("https://evil.example", "//evil.example", "/\\evil.example", "evil"):
        assert place("manager", away) == "/"


def test_the_session_cookie_is_out_of_reach_and_ends_with_the_log_out(plant: Plant):
    client = TestClient(plant.app, follow_redirects=False)
    form = {"username": "manager", "password": password_of("manager")}
    cookie = client.post("/login", data=form).headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie
    token = client.cookies["pms_session"]
    assert client.post("/logout").status_code == 303
    client.cookies.set("pms_session", token)
    assert client.get("/").status_code == 303


def test_wrong_passwords_are_told_and_then_refused(plant: Plant):
    client = TestClient(plant.app, headers={"accept-language": "en"})
    form = {"username": "viewer", "password": "wrong"}
    answers = [client.post("/login", data=form) for _ in range(6)]
    assert answers[0].status_code == 401
    assert "Name or password is wrong." in answers[0].text
    assert answers[-1].status_code == 429
    right = {"username": "viewer", "password": password_of("viewer")}
    assert client.post("/login", data=right).status_code == 429


CROSS = [
    ("GET", {"sec-fetch-site": "cross-site"}, False),
    ("POST", {"sec-fetch-site": "cross-site"}, True),
    ("POST", {"sec-fetch-site": "same-site"}, True),
    ("POST", {"sec-fetch-site": "same-origin"}, False),
    ("POST", {"sec-fetch-site": "none"}, False),
    ("POST", {"origin": "https://evil.example", "host": "plant.lan"}, True),
    ("POST", {"origin": "https://plant.lan", "host": "plant.lan"}, False),
    ("POST", {"origin": "null", "host": "plant.lan"}, True),
    ("POST", {"host": "plant.lan"}, False),
]


@pytest.mark.parametrize(("method", "headers", "refused"), CROSS)
def test_cross_site_writes_are_seen(method: str, headers: dict[str, str], refused: bool):
    assert is_cross_site(method, Headers(headers)) is refused


def test_cross_site_writes_are_refused_and_every_answer_is_guarded(log_in: LogIn):
    client = log_in("manager")
    refused = client.post("/wo/1/cancel", headers={"origin": "https://evil.example"})
    assert refused.status_code == 403
    for answer in (refused, client.get("/"), client.get("/nowhere"), client.get("/livez")):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_a_script_whose_session_ended_is_led_to_the_log_in(plant: Plant):
    client = TestClient(plant.app, follow_redirects=False)
    answer = client.get("/alerts", headers={"hx-request": "true"})
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/login"


def test_a_body_that_is_too_large_is_refused(log_in: LogIn):
    files = {"photo": ("big.jpg", b"\0" * (26 * 1024 * 1024), "image/jpeg")}
    assert log_in("wang").post("/wo/1/photo", files=files).status_code == 413
