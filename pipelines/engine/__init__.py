"""Runs units of work: in this process or on Ray, exactly once as far as anyone can see."""
