"""Built-in backends, strategies, verifiers and trainers: one module each, on the public plugin API only."""
