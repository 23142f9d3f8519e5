"""Second-order tangents of a Pareto front: curvature, MINRES, and the gates a step has to pass."""
