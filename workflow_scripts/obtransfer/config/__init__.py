"""Everything about config.yaml: its schema, its defaults, its checks."""
