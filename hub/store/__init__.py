"""The hub's memory: batches with their evidence, observations, deliveries, incidents. The only room with psycopg.

SQL lives by name in `queries/`, the schema in `migrations/`.
"""
