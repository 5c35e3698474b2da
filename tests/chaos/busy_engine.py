"""`pms-iot` with a store that never rests: small steps, so that a kill often falls into one. A program of its own."""

from pms_iot.cli import main
from pms_iot.telemetry.embedded import keeper
from pms_iot.telemetry.mirrored import forwarder

KEEPER = {"LOG_SAMPLES": 12_000, "LOG_AGE_S": 3.0, "_LOOK_S": 0.05, "_FINISH_S": 2.0}
KEEPER |= {"MERGED_AT_ONCE": 4, "GRACE_NS": 0}
FORWARDER = {"_SAMPLES": 2000, "_RETRY_S": (0.1, 1.0)}

if __name__ == "__main__":
    for module, constants in ((keeper, KEEPER), (forwarder, FORWARDER)):
        for name, value in constants.items():
            assert hasattr(module, name), name
            setattr(module, name, value)
    main()
