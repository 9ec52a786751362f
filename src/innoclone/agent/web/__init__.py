"""The agent in a browser and for Prometheus."""
