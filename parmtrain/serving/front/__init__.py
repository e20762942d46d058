"""A bundle's service behind the protocol, alone in front of a fleet."""
