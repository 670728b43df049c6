"""What runs on the node: the job's program, the step, its signals and its outcome. Only the standard library is imported."""
