"""A register map out of a vendor's point table."""
