"""Predictions of the deployed model, and scores and costs of a code."""
