"""Schemas of requests and answers. They depend on neither Redis nor Flask.

The schema of an entity (`User`, `Group`, `Task`) is the only list of its fields: it validates
requests, defines the fields that both stores keep, and documents them in the OpenAPI document.
"""
