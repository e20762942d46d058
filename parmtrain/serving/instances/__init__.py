"""One network of a bundle, run for a front: its device, its server, its time for a batch."""
