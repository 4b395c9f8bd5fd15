"""Filters: what a view keeps of its input (static random subsets, competition)."""
