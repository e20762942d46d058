"""A service on Ray: fronts as Serve deployments, instances as actors, and Ray's start and end."""
