"""Readers of files against damaged ones: everything but success and a refusal as text is a finding."""
