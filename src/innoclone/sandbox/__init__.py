"""A private server to try things on: data, load, DDL."""
