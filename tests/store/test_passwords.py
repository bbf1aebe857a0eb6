"""The cost of a password hash; other tests in this process hash at a lower cost."""

import pytest

from taskapi.store import passwords


@pytest.mark.usefixtures("shipped_password_hashes")
def test_a_guess_at_a_stored_hash_costs_32_mib_of_memory() -> None:
    method, _, _ = passwords.hash_password("alice123").partition("$")
    name, iterations, block_size, _ = method.split(":")
    assert (name, 128 * int(iterations) * int(block_size)) == ("scrypt", 32 << 20)
