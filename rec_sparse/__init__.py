"""Explicitly sparse recommender networks, and the studies that compare them with dense ones."""
