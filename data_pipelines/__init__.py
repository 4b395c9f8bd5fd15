"""Raw logs -> encoded blocks -> batches; knows the schema, not the models."""
