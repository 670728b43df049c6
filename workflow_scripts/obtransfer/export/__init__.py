"""A pruned model to take home: weights, mask, ONNX and a card that says what they are."""
