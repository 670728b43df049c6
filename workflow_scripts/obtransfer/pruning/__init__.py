"""From criteria to masks over several rounds, and the damping that suits a source."""
