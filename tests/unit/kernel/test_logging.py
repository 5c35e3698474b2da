"""Every line of the engine and of its libraries has one form."""

import json
import subprocess
import sys

SCRIPT = """
import logging, structlog
from pms_iot.kernel.logging import configure_logging
log = structlog.get_logger()
configure_logging("info", {form!r})
log.info("said", gateway="gw-01", label="泵")
log.debug("not said")
logging.getLogger("uvicorn.error").warning("library %s", "speaks")
logging.getLogger("uvicorn.error").info("library whispers")
logging.getLogger("apscheduler.scheduler").warning("every second")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
    logging.getLogger("lib").exception("library failed")
"""


def lines(form: str) -> list[str]:
    run = [sys.executable, "-c", SCRIPT.format(form=form)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_json_is_one_object_in_each_line():
    said = [json.loads(line) for line in lines("json")]
    assert [line["event"] for line in said] == ["said", "library speaks", "failed", "library failed"]  # fmt: skip
    assert said[0]["gateway"] == "gw-01" and said[0]["label"] == "泵"
    assert said[1]["logger"] == "uvicorn.error" and said[1]["level"] == "warning"
    assert all({"level", "timestamp"} <= line.keys() for line in said)
    assert all("ZeroDivisionError" in line["exception"] for line in said[2:])


def test_auto_is_json_where_nobody_sits():
    assert json.loads(lines("auto")[0])["event"] == "said"


def test_text_is_for_people():
    first = lines("text")[0]
    assert "said" in first and "gateway=gw-01" in first and not first.startswith("{")
