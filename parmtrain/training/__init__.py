"""From queries to trained parity models: coding groups, losses, the Lightning module, what goes on around it."""
