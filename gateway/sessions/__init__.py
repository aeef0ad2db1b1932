"""Sessions: sealing them, storing them, and remembering the ones in use."""
