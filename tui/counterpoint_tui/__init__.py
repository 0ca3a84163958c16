"""The terminal application, itself a plugin."""
