"""Real parts for the integration tests: each class starts one program with private data and ports, and stops it by pid."""
