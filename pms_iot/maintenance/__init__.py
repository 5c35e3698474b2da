"""Preventive maintenance: plans, and a row for every occurrence that was expected."""
