"""Tables and figures over many scored runs: means of recipes, correlation of scores."""
