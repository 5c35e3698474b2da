"""A disk whose reserve is reached takes no samples: they stay at the gateway until there is room."""

from pathlib import Path

from tests import servers
from tests.pipeline.serving import Engine, Gateway, temp
from tests.servers import wait_for

MORE_THAN_ANY_DISK_MB = 10**9


def test_at_the_reserve_nothing_is_taken_and_nothing_is_lost(
    tmp_path: Path, broker: servers.Server
) -> None:
    env = {"PMS_MQTT__PORT": broker.port}
    full = Engine(tmp_path / "engine", {**env, "PMS_DISK_RESERVE_MB": MORE_THAN_ANY_DISK_MB})
    with full:
        gateway = Gateway(broker.port)
        gateway.send(temp(20))
        wait_for(lambda: "pipeline" in full.not_ready(), "the engine to wait for room", 30, 0.05)
        assert "disk" in full.not_ready()
        assert gateway.acked.get("data", 0) == 0
        assert full.rows("select * from watermark") == []
    roomy = Engine(tmp_path / "engine", env)
    with roomy:
        gateway.wait_acked(1)
        assert roomy.rows("select seq, samples from watermark") == [(1, 1)]
        gateway.close()
