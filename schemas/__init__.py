"""What requests may say and what answers look like. No Redis, no Flask.

An entity's schema (`User`, `Group`, `Task`) is the one list of its fields. Requests are validated
by it, both stores keep the fields that a client sees, and the OpenAPI document shows them.
"""
