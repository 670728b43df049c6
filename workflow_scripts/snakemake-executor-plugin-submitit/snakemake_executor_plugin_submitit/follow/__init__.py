"""Jobs on the cluster: what their states mean, and what the user is told about them."""
