"""Private real servers for tests: free ports, own directories, gone with the test process.

    with mosquitto(directory) as broker:  # broker.port, broker.stop(), broker.start()

A missing server skips the test with the reason; under CI=true it fails it.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import httpx2
import psycopg
import pytest
from pydantic import SecretStr

from pms_iot.settings import InfluxSettings

START_S = 30.0
_PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/usr/bin"


def wait_for(
    condition: Callable[[], object], what: str, timeout_s: float = 20.0, every_s: float = 0.005
) -> None:
    """Returns as soon as the condition is true; fails naming what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(every_s)


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def missing(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def require(name: str) -> str:
    """The path of a program; without it the test is skipped, or fails under CI=true."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    found = shutil.which(name, path=":".join([_PLACES, *map(str, reversed(newest))]))
    return found or missing(f"{name} is not installed")


@dataclass
class Server:
    """One process that listens on one port of 127.0.0.1 and can be stopped and started again."""

    name: str
    command: list[str]
    port: int
    directory: Path
    ready: Callable[[], bool]
    user: str | None = None
    stop_signal: str = "TERM"
    environ: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the server answers; raises RuntimeError with its log if it ends instead."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_bound_to_us(self.stop_signal, self.user), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={**os.environ, **self.environ},
            )
        wait_for(self._is_up, f"{self.name} on port {self.port}", START_S)

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            log = (self.directory / "log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{log}")
        return self.ready()

    def stop(self) -> None:
        """An orderly end."""
        if self.process is not None:
            self.process.send_signal(_SIGNALS[self.stop_signal])
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """kill -9: what a crash leaves behind."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


_SIGNALS = {"TERM": 15, "INT": 2}


def _bound_to_us(stop_signal: str, user: str | None) -> list[str]:
    """The kernel stops the server when the test process ends, however it ends."""
    identity = ["--reuid", user, "--regid", user, "--clear-groups"] if user else []
    return [require("setpriv"), "--pdeathsig", stop_signal, *identity, "--"]


@contextmanager
def running(make: Callable[[int], Server], port: int | None = None) -> Generator[Server]:
    """Starts what `make(port)` describes; another process may take the port first, so tries thrice."""
    for attempt in range(3):
        server = make(port or free_port())
        try:
            server.start()
            break
        except RuntimeError:
            if attempt == 2:
                raise
    try:
        yield server
    finally:
        server.stop()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def mosquitto(directory: Path, *, extra: str = "", port: int | None = None) -> Generator[Server]:
    """A broker with persistence, so that sessions and queues survive stop() and start()."""
    directory.mkdir(parents=True, exist_ok=True)
    program = require("mosquitto")

    def make(port: int) -> Server:
        # As root Mosquitto would change its user, which would undo the death signal.
        config = (
            f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n"
            f"persistence true\npersistence_location {directory}/\n{extra}\n"
        )
        (directory / "mosquitto.conf").write_text(config)
        command = [program, "-c", str(directory / "mosquitto.conf")]
        return Server("mosquitto", command, port, directory, lambda: listens(port))

    with running(make, port) as server:
        yield server


@dataclass(frozen=True)
class Postgres:
    """A cluster of which each test gets a database of its own."""

    server: Server

    def admin(self) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.server.port, user="postgres", autocommit=True
        )

    @contextmanager
    def database(self) -> Generator[str]:
        """An empty database; yields its SQLAlchemy URL."""
        name = f"test_{time.monotonic_ns()}"
        with self.admin() as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        yield f"postgresql+psycopg://postgres@127.0.0.1:{self.server.port}/{name}"
        with self.admin() as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def postgres() -> Generator[Postgres]:
    """A cluster in a directory of its own, run as user postgres when we are root."""
    initdb, program = require("initdb"), require("postgres")
    user = "postgres" if os.geteuid() == 0 else None
    directory = Path(tempfile.mkdtemp(prefix="pms-postgres-"))  # pytest's own are closed to others
    try:
        if user:
            os.chown(directory, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        initialise = [*_bound_to_us("INT", user), initdb, "-D", str(directory / "data"), *options]
        done = subprocess.run(initialise, cwd=directory, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"initdb: {done.stderr}")
        with running(lambda port: _postgres_on(program, port, directory, user)) as server:
            yield Postgres(server)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _postgres_on(program: str, port: int, directory: Path, user: str | None) -> Server:
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": directory}
    settings |= {"fsync": "off", "max_connections": 50, "shared_buffers": "32MB"}
    command = [program, "-D", str(directory / "data")]
    command += [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]

    def ready() -> bool:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    return Server("postgres", command, port, directory, ready, user, stop_signal="INT")


@dataclass(frozen=True)
class Influx:
    """A server that speaks the v2 write API and InfluxQL; each test gets a bucket of its own.

    `server` is what listens at `url`, `backend` what keeps the data: the shim and influxd 1.6, or twice
    influxd 2, or None where a server was given by the environment.
    """

    url: str
    org: str
    token: str
    server: Server | None
    backend: Server | None

    def environment(self, bucket: str) -> dict[str, str]:
        """Of an engine that stores there."""
        return environment_of(self.settings(bucket))

    def settings(self, bucket: str) -> InfluxSettings:
        return InfluxSettings(
            url=self.url, org=self.org, bucket=bucket, token=SecretStr(self.token)
        )

    @property
    def headers(self) -> dict[str, str]:
        """For who asks it directly."""
        return {"Authorization": f"Token {self.token}"}

    @property
    def version(self) -> str:
        return httpx2.get(f"{self.url}/ping").headers["X-Influxdb-Version"]

    @contextmanager
    def bucket(self) -> Generator[str]:
        """An empty bucket; yields its name."""
        name = f"test_{time.monotonic_ns()}"
        if self.server is None or self.server is self.backend:
            yield from _made_by_api(self, name)
            return
        names = [name, *(f"{name}_{step}" for step in ("1m", "15m", "1h"))]
        for each in names:  # an engine may make those of the roll-ups at a 2.x server
            made = httpx2.post(f"{self.url}/query", params={"q": f"CREATE DATABASE {each}"})
            made.raise_for_status()
        yield name
        if self.server.process and self.server.process.poll() is None:
            for each in names:
                httpx2.post(f"{self.url}/query", params={"q": f"DROP DATABASE {each}"})


def environment_of(influx: InfluxSettings) -> dict[str, str]:
    return {
        "PMS_INFLUX__URL": influx.url or "",
        "PMS_INFLUX__ORG": influx.org,
        "PMS_INFLUX__BUCKET": influx.bucket,
        "PMS_INFLUX__TOKEN": influx.token.get_secret_value(),
    }


def _made_by_api(influx: Influx, name: str) -> Generator[str]:
    from influxdb_client import InfluxDBClient  # only where there is a 2.x server

    with InfluxDBClient(influx.url, token=influx.token, org=influx.org) as client:
        api = client.buckets_api()
        api.create_bucket(bucket_name=name, org=influx.org)
        yield name
        if influx.server is None:  # it stays when the test is over
            for bucket in api.find_buckets_iter():
                if bucket.name.startswith(name):  # an engine makes those of the roll-ups
                    api.delete_bucket(bucket)


@contextmanager
def influx(directory: Path) -> Generator[Influx]:
    """`influxd` of 2.x if that is the first on the PATH, Debian's 1.6 behind an nginx that lends it the v2
    write path, or PMS_TEST_INFLUX_URL.

    With the URL go PMS_TEST_INFLUX_TOKEN and PMS_TEST_INFLUX_ORG.
    """
    if given := os.environ.get("PMS_TEST_INFLUX_URL"):
        org = os.environ.get("PMS_TEST_INFLUX_ORG", "pms")
        yield Influx(given, org, os.environ.get("PMS_TEST_INFLUX_TOKEN", ""), None, None)
        return
    program = require("influxd")
    if " v2." in subprocess.run([program, "version"], capture_output=True, text=True).stdout:
        (directory / "influxd").mkdir(parents=True, exist_ok=True)
        with running(lambda port: _influxd2_on(program, port, directory / "influxd")) as server:
            yield _set_up(server)
        return
    programs = program, require("nginx")
    for name in ("influxd", "nginx"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    with (
        running(lambda port: _influxd_on(programs[0], port, directory / "influxd")) as backend,
        running(
            lambda port: _shim_on(programs[1], port, directory / "nginx", backend.port)
        ) as shim,
    ):
        yield Influx(f"http://127.0.0.1:{shim.port}", "pms", "test", shim, backend)


def _influxd_on(program: str, port: int, directory: Path) -> Server:
    (directory / "influxd.conf").write_text(
        _INFLUXD.format(d=directory, rpc=free_port(), http=port)
    )
    command = [program, "-config", str(directory / "influxd.conf")]
    return Server("influxd", command, port, directory, lambda: _pings(port))


def _influxd2_on(program: str, port: int, directory: Path) -> Server:
    command = [program, "--http-bind-address", f"127.0.0.1:{port}", "--reporting-disabled"]
    command += ["--bolt-path", f"{directory}/bolt", "--sqlite-path", f"{directory}/sqlite"]
    command += ["--engine-path", f"{directory}/engine", "--log-level", "error"]
    return Server("influxd", command, port, directory, lambda: _pings(port))


def _set_up(server: Server) -> Influx:
    made = Influx(f"http://127.0.0.1:{server.port}", "pms", "test-token", server, server)
    first = {"username": "test", "password": "a password", "bucket": "first"}
    setup = {**first, "org": made.org, "token": made.token}
    httpx2.post(f"{made.url}/api/v2/setup", json=setup).raise_for_status()
    return made


def _shim_on(program: str, port: int, directory: Path, backend: int) -> Server:
    config = _SHIM.replace("@d@", str(directory)).replace("@port@", str(port))
    (directory / "nginx.conf").write_text(config.replace("@backend@", str(backend)))
    command = [program, "-p", str(directory), "-c", str(directory / "nginx.conf")]
    command += ["-e", str(directory / "error.log")]
    return Server("nginx", command, port, directory, lambda: _pings(port))


def _pings(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/ping", timeout=2).status_code == 204
    except httpx2.TransportError:
        return False


_INFLUXD = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{d}/meta"
[data]
  dir = "{d}/data"
  wal-dir = "{d}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{http}"
  log-enabled = false
"""

# 1.6 knows neither the path /api/v2/write nor the precision "us".
_SHIM = """
daemon off; master_process off; pid @d@/pid;
events {}
http {
  access_log off;
  client_body_temp_path @d@/body; proxy_temp_path @d@/proxy; fastcgi_temp_path @d@/fastcgi;
  uwsgi_temp_path @d@/uwsgi; scgi_temp_path @d@/scgi;
  map $arg_bucket $v1_db { default ""; "~^(?<d>[^%/]+)" $d; }
  map $arg_bucket $v1_rp { default ""; "~^[^%/]+(?:%2[Ff]|/)(?<r>.+)$" $r; }
  map $arg_precision $v1_prec { default bad; "" n; ns n; us u; ms ms; s s; }
  server {
    listen 127.0.0.1:@port@; client_max_body_size 25m;
    location = /api/v2/write {
      if ($v1_db = "")    { return 404 '{"code":"not found","message":"bucket is required"}'; }
      if ($v1_prec = bad) { return 400 '{"code":"invalid","message":"precision must be ns, us, ms or s"}'; }
      set $args "db=$v1_db&rp=$v1_rp&precision=$v1_prec";
      rewrite ^ /write break;  proxy_pass http://127.0.0.1:@backend@; }
    location = /query  { proxy_pass http://127.0.0.1:@backend@; }
    location = /ping   { proxy_pass http://127.0.0.1:@backend@; }
    location = /health { default_type application/json; return 200 '{"name":"influxdb","status":"pass"}'; }
    location /api/v2/  { default_type application/json; return 501 '{"code":"not implemented","message":"write only"}'; }
  }
}
"""
