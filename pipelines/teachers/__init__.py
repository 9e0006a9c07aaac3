"""The frozen model whose features are cached, behind one protocol."""
