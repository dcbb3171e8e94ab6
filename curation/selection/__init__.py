"""Selection: the bandit, its rewards, loss curves and the mixture."""
