"""Which configuration the process runs, and how it begins anew with another."""

import ctypes
import gc
import logging
import os
import sqlite3
import sys
from contextlib import suppress
from typing import NoReturn

from pms_edge.agent import Agent
from pms_edge.clock import Clock
from pms_edge.config.load import Config, load_config
from pms_edge.config.located import ConfigError, Document
from pms_edge.remote.generations import Generations

log = logging.getLogger(__name__)


def open_agent(generations: Generations, clock: Clock) -> Agent:
    """The agent of the pushed configuration, or of the gateway file when there is none.

    A pushed configuration that cannot be started is rolled back at once. Raises ConfigError,
    ValueError, OSError or sqlite3.Error when nothing can be started.
    """
    config = _config(generations)
    _give_memory_back()
    try:
        return Agent(config, clock, generations)
    except (ValueError, OSError, sqlite3.Error) as error:
        if not generations.on_trial:
            raise
        generations.roll_back(f"the agent did not start: {error}")
        start_again()


def roll_back_failure(generations: Generations, error: Exception) -> None:
    """After the running agent failed. Returns only when no configuration is on trial."""
    if generations.on_trial:
        log.exception("agent failed with a configuration on trial")
        generations.roll_back(f"the agent failed: {error}")
        start_again()


def start_again() -> NoReturn:
    """The same command in the same process id: nothing of this agent is left, not even a thread."""
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _give_memory_back() -> None:
    """Parsed files are garbage once they are a configuration: some MB of a small machine."""
    gc.collect()
    with suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _config(generations: Generations) -> Config:
    file = generations.gateway_file
    pushed = generations.start() if "push" in Document(file).content else None
    while True:
        try:
            return load_config(file, pushed=pushed)
        except ConfigError as error:
            if pushed is None:
                raise
            pushed = generations.give_up(str(error))
