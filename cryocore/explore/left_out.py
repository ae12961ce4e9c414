"""What is looked at of those that a round leaves out, and where it is kept; without what draws it."""

FILE = "left_out.json"
FIGURE = "left_out_map"
"""What ``look`` writes beside a picture of each group of particles."""
STATES_FILE = "states.json"
STATES_TABLE = "states.parquet"
STATES_FIGURE = "states"
"""What it writes of a second state."""
TITLES = {
    "selected": "Selected",
    "borderline": "At the edge",
    "orientation": "Left out: orientation",
    "position": "Left out: position",
    "no_particle": "Left out: no particle",
    "defocus": "Left out: wrong defocus",
    "spoilt": "Left out: spoilt",
    "quality": "Left out: quality",
    "view_guard": "Selected for a rare view",
    "unknown": "Left out",
}
"""Groups in the order in which they are shown."""
