"""What a code is worth and what it costs: predictions of the deployed model, scores, resources."""
