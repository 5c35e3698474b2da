"""What an operator may ask of a gateway from afar: another configuration, a write."""
