"""Readers of files against damaged ones: everything but success and a refusal in words is a finding."""
