"""From YAML to objects: the schema, what is wrong with a configuration, and what it names."""
