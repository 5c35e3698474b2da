"""Samples: the batch that flows, its decoding, the consumer and the stores."""
