"""One file per kind of machine: its state, its physics per step, its register map."""
