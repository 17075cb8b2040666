"""Studies: several specs, trained and evaluated alike, and one report that compares them."""
