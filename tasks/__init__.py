"""Prefect tasks: one per step; retries, limits, published artifacts, nothing else."""
