"""What programs stand on: the loop of a run, feeds, trials side by side, restored runs."""
