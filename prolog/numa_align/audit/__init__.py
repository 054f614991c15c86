"""How well everything that runs on a node, or on a cluster, is placed: samples, metrics, reports."""
