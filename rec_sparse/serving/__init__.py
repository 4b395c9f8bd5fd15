"""Rows that are only to be scored: by a run, or by an artifact that needs no rec_sparse."""
