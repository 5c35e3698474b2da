"""What is shipped to browsers: vendored files as published, hashed URLs."""

import hashlib
import re
from pathlib import Path

from starlette.testclient import TestClient

from pms_iot.web.static_files import ROOT, static_url
from tests.web.conftest import LogIn
from tests.web.plant import Plant

VENDOR = ROOT / "vendor"


def test_every_vendored_file_is_listed_with_its_hash():
    listed: dict[str, str] = {}
    for line in (VENDOR / "VENDORED.txt").read_text().splitlines():
        if not line.startswith("#"):
            _name, _version, _licence, file, digest = line.split()
            listed[file] = digest
    shipped = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.suffix in (".js", ".css")
    }
    assert shipped == listed


def test_static_files_are_kept_for_ever_and_only_under_their_hash(plant: Plant):
    client = TestClient(plant.app)
    answer = client.get(static_url("app.css"))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/css")
    assert client.get("/static/000000000000/app.css").status_code == 404
    assert client.get("/static/000000000000/../app.py").status_code == 404
    assert client.get(static_url("app.css").replace("app.css", "..%2fapp.py")).status_code == 404


def test_pages_load_nothing_from_elsewhere_and_run_no_inline_script(log_in: LogIn):
    page = log_in("manager").get("/a/EL-01").text
    for address in re.findall(r'(?:src|href|action|data-worker|data-url)="([^"]*)"', page):
        assert address.startswith(("/", "#")), address
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)
    assert not re.search(r"\s(style|on\w+)=", page)


def test_no_script_or_style_names_another_host():
    for path in (*ROOT.glob("*.js"), *ROOT.glob("*.css")):
        assert not re.search(r"https?://", Path(path).read_text()), path.name
