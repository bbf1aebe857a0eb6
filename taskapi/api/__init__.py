"""Blueprints of short views: load, authorise, validate, act."""
