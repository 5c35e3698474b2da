"""How the engine itself is doing, for whoever runs it: vital signs, metrics, word of a disk that fills up."""
