"""What is asked for: matrix.toml, its cells, and a cell as a job that travels. Pure."""
