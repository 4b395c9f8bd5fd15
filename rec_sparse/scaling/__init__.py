"""From a grid of trials to curves, laws and verdicts."""
