"""How SpikingJelly's two revisions differ from the models' own sources."""
