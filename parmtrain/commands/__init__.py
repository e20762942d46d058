"""Small commands that say what there is: options, keys, faults of a configuration, completions."""
