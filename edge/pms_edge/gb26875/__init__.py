"""GB/T 26875.3-2011: the side of the centre, for user information transmission devices."""
