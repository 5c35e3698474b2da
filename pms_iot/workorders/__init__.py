"""Work orders: opened once for each origin, moved only by legal moves, closed when the telemetry agrees."""
