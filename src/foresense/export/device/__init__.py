"""What is copied to a device beside a model; each file runs there alone."""
