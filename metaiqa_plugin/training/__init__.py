"""The run around a model: data in order, states, logs, signals."""
