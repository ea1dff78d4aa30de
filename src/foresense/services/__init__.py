"""The services of compose.yaml, and backups of what they and the project's folder hold. Nothing here removes data."""
