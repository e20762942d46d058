"""From YAML to objects: the schema of a configuration, its check, and its assembly."""
