"""Edge agent: devices in, wire v1 out, nothing lost in between."""
