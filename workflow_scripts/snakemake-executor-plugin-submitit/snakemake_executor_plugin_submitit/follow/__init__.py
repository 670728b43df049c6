"""Jobs on the cluster: what their states mean, and what the user reads about them."""
