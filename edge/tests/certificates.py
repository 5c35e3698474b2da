"""Certificates of a test's own, made by the openssl command."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

OPENSSL = shutil.which("openssl")
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A certificate authority in a folder; `folder / "ca.crt"` is what its clients trust."""

    def __init__(self, folder: Path) -> None:
        if OPENSSL is None:
            missing("openssl is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._run("req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca")
        (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")

    def issue(self, name: str, days: int = 2) -> tuple[Path, Path]:
        """Certificate and key of `name`; expired with negative days."""
        file = f"{name}{days}"
        self._run(
            "req", *_KEY, "-keyout", f"{file}.key", "-out", f"{file}.csr", "-subj", f"/CN={name}"
        )
        signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", str(days)]
        signing += ["-in", f"{file}.csr", "-out", f"{file}.crt", "-extfile", "extensions"]
        self._run("x509", "-req", *signing)
        return self.folder / f"{file}.crt", self.folder / f"{file}.key"

    def _run(self, *words: str) -> None:
        command = [str(OPENSSL), *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def missing(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
