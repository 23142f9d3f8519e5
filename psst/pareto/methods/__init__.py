"""How the weights of a step are decided: one method a file."""
