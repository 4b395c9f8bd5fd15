"""Programs: each a thin absl main over the library."""
