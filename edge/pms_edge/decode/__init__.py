"""From the bytes of a block to values in engineering units, and back."""
