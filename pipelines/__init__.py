"""From archives to a learning student: normalize, cache, publish, stream, train."""
