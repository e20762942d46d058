"""The frontend in simulated time: service times, strategies, and what comes of them."""
