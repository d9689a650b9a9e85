"""The table engine: cells from YAML, a cache of finished runs, worker processes, statistics, rendering."""
