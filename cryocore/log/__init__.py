"""The log: what every particle scores in every round; how it is completed, and how it is read."""
