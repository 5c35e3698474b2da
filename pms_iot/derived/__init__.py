"""What follows from measured points by state or by physics, as points like any other."""
