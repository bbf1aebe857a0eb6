"""What a request may say. No Redis, no Flask: plain data in, plain data or ValidationError out."""
