"""Looking at a running tree from outside, for people and for tests: it asks no actor, and nothing on the path knows it."""
