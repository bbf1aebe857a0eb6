"""Everything HTTP. Views are short: what stands above them says the rest."""
