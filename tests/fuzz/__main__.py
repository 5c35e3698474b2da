"""Coverage-guided fuzzing of the decoders: `python -m tests.fuzz TARGET [libFuzzer options]`.

Needs atheris (`make fuzz` installs it). A target may raise only what its decoder's docstring names;
anything else ends the run, and libFuzzer leaves the input behind.
"""

import sys

import atheris

with atheris.instrument_imports(include=["pms_edge", "pms_iot"]):
    from tests.fuzz.targets import TARGETS

name, *options = sys.argv[1:]
atheris.Setup([sys.argv[0], *options], TARGETS[name])
atheris.Fuzz()
