"""Instances that are servers already, whoever wrote them: which they are, and how they are asked."""
