"""Streams the samples of a published manifest, in shuffled order, to a training loop."""
