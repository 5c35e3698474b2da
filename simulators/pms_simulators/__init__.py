"""Simulated and recorded machines with faults of known onset."""
