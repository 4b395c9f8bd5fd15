"""What launch programs stand on: the loop of a run, feeds, trials side by side, studies, restored runs."""
