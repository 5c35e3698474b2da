"""The whole agent as a process, between a Modbus device, a broker and an acking engine."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from edge_rig import free_port
from pms_edge.wall import kernel_synchronised
from register_device import ModbusDevice
from tiny_engine import eventually

LIFT = {0: [1500, 0b1_0001, 1], 10: [1, 2]}


def lift(port: int, **more) -> dict:
    return {
        "endpoints": {"plc": {"tcp": f"127.0.0.1:{port}", "timeout": "500ms"}},
        "devices": [{"id": "EL-01", "profile": "test_lift.v1", "endpoint": "plc", "unit": 1}],
        **more,
    }


def test_a_modbus_value_reaches_the_engine_and_frees_the_spool(gateway, start_agent, engine):
    device = ModbusDevice({1: LIFT})
    agent = start_agent({**gateway, **lift(device.port)})
    engine.wait(lambda: any("trips=65538" in line for line in engine.lines()))
    head = "elevator,site=riverside,asset=EL-01 speed=1.5,run=1,door=1,mode=1,q=192i "
    assert any(line.startswith(head) for line in engine.lines())
    assert "online" in engine.state
    assert engine.births[0]["devices"][0]["profile"] == "test_lift.v1"
    assert engine.births[0]["profiles"]["test_lift.v1"]["trips"] == 0.2
    assert agent.stop() == 0
    engine.wait(lambda: engine.state[-1] == "offline")
    device.close()


def spooled(folder: Path, epoch: str) -> list[tuple[int, int, str]]:
    """(seq, samples, lines) of the data batches on disk."""
    with closing(sqlite3.connect(folder / "spool.db")) as db:
        assert db.execute("SELECT epoch FROM meta").fetchone()[0] == epoch
        rows = db.execute("SELECT seq, n, blob FROM batch WHERE lane = 'data' ORDER BY seq")
        return [(seq, n, blob.decode()) for seq, n, blob in rows]


def test_every_spooled_batch_arrives_exactly_once_after_kill_9(
    gateway, start_agent, engine, broker, tmp_path
):
    device = ModbusDevice({1: LIFT})
    content = {**gateway, **lift(device.port)}
    epoch = start_agent(content).epoch
    for acking in (True, False, True):  # once the engine is away while the agent dies
        engine.acking = acking
        kill_restart_and_compare(start_agent, content, engine, tmp_path, epoch)
    seqs = engine.committed(epoch, "data")
    assert seqs == list(range(1, len(seqs) + 1))
    assert engine.gaps == []
    assert len(engine.lines()) == len(set(engine.lines()))
    device.close()


def kill_restart_and_compare(start_agent, content, engine, folder, epoch):
    done = len(engine.committed(epoch, "data"))
    if engine.acking:
        engine.wait(lambda: len(engine.committed(epoch, "data")) > done + 4)
    else:
        eventually(lambda: len(spooled(folder, epoch)) > 4)
    start_agent.last.kill()
    left = spooled(folder, epoch)
    engine.acking = True
    assert start_agent(content).epoch == epoch
    last = max([seq for seq, _, _ in left], default=done) + 1
    engine.wait(lambda: engine.committed(epoch, "data")[-1] >= last)
    arrived = dict(engine.batches[epoch, "data"])
    assert all(arrived[seq] == text for seq, _, text in left)


def test_what_was_read_before_sigterm_is_in_the_spool(gateway, start_agent, broker, tmp_path):
    device = ModbusDevice({1: LIFT})
    content = {**gateway, **lift(device.port)}
    content["spool"] = {"path": "spool.db", "flush": "1h"}  # only the end flushes
    agent = start_agent(content)
    eventually(lambda: len(device.requests) > 5)
    assert agent.stop() == 0
    [(seq, samples, text)] = spooled(tmp_path, agent.epoch)
    assert seq == 1 and samples >= 5 and text.count("\n") >= 3
    device.close()


def test_an_unreachable_broker_does_not_keep_devices_from_being_read(
    gateway, start_agent, tmp_path
):
    device = ModbusDevice({1: LIFT})
    content = {**gateway, **lift(device.port)}
    content["uplink"] = {"host": "127.0.0.1", "port": free_port()}
    agent = start_agent(content)
    eventually(lambda: len(spooled(tmp_path, agent.epoch)) > 3)
    assert agent.stop() == 0
    assert agent.log.read_text().count("uplink lost") == 1, "an outage is logged once"
    device.close()


def test_compressed_time_stamps_samples_with_the_simulated_clock(gateway, start_agent, engine):
    device = ModbusDevice({1: LIFT})
    clock = {
        "PMS_CLOCK_ANCHOR_NS": str(time.time_ns()),
        "PMS_CLOCK_START_NS": "1000000000000000000",
        "PMS_CLOCK_FACTOR": "20",
    }
    classes = {"classes": {"fast": "1s", "slow": "4s"}}
    agent = start_agent({**gateway, **lift(device.port), **classes}, clock)
    engine.wait(lambda: sum("speed=" in line for line in engine.lines()) >= 5)
    instants = [int(line.rsplit(" ", 1)[1]) for line in engine.lines() if "speed=" in line]
    gaps = [later - earlier for earlier, later in pairwise(instants)]
    assert all(0 <= at - 10**18 < 3600 * 10**9 for at in instants)
    assert all(gap > 0 for gap in gaps)
    assert instants[-1] - instants[0] >= 3 * 10**9, "one simulated second per poll"
    assert agent.stop() == 0
    device.close()


def test_health_names_each_device_the_spool_and_the_counts(gateway, start_agent, engine):
    device = ModbusDevice({1: LIFT})
    clock = {"PMS_CLOCK_FACTOR": "10"}  # a health every second
    classes = {"classes": {"fast": "1s", "slow": "4s"}}
    agent = start_agent({**gateway, **lift(device.port), **classes}, clock)
    engine.wait(lambda: engine.healths)
    engine.wait(lambda: engine.healths[-1]["devices"]["EL-01"]["ok"])
    health = engine.healths[-1]
    assert {"at_ns", "spool", "devices", "rss_bytes", "counters"} <= set(health)
    assert set(health["devices"]["EL-01"]) >= {
        *("ok", "errors", "last_error", "last_good_ns", "late", "age_s"),
    }
    assert health["devices"]["EL-01"]["breaker"] == "closed"
    plc = health["endpoints"]["plc"]
    assert plc["requests"] > 0 and plc["rtt_p50_ms"] > 0 and plc["timeouts"] == 0
    assert health["clock"]["uncertain"] is False and health["clock"]["steps"] == 0
    assert health["rss_bytes"] > 1_000_000
    assert agent.stop() == 0
    device.close()


def test_samples_are_uncertain_while_the_kernel_is_not_synchronised_and_that_is_required(
    gateway, start_agent, engine
):
    device = ModbusDevice({1: LIFT})
    agent = start_agent({**gateway, **lift(device.port), "clock": {"require_sync": True}})
    engine.wait(lambda: any("speed=1.5" in line for line in engine.lines()))
    unsure = kernel_synchronised() is False
    assert engine.healths[0]["clock"]["uncertain"] is unsure
    read = [line for line in engine.lines() if "speed=1.5" in line]
    assert all(("q=64i" if unsure else "q=192i") in line for line in read)
    assert agent.stop() == 0
    device.close()


def test_a_configuration_mistake_refuses_to_start_and_names_the_place(tmp_path):
    file = Path(__file__).parent / "broken" / "gateway_unknown_endpoint.yaml"
    command = [sys.executable, "-m", "pms_edge", "run", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "devices[0].endpoint: no endpoint is named 'pcl'" in done.stderr
