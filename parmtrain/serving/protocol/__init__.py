"""The Open Inference Protocol, over HTTP and gRPC, and who may ask how much of a server."""
