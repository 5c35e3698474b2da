"""Register maps as data: one profile for each model of equipment."""
