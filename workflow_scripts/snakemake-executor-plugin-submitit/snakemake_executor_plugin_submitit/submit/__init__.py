"""From jobs that are ready to submissions: requests, earlier submissions, the queue."""
