"""What predictions are worth: stateless functions, and torchmetrics classes over them."""
