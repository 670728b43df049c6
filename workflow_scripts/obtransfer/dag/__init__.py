"""What the rules need to know of a configuration: the points of the grid and the path of every artefact. Imports nothing heavy."""
