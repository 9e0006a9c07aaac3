"""Raw archives become samples: one module per data set over shared readers."""
