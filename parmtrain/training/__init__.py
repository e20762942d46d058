"""From queries to trained parity models: coding groups, losses, the Lightning module and its callbacks."""
