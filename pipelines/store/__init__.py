"""Shards on disk: objects, layout, shard files, arrays, tables, commits, manifests, checks."""
