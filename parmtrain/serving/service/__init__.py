"""The frontend in an event loop: actions carried out, queries encoded and decoded, and who is told of them."""
