"""The cost of a password hash; other tests in this process hash at a lower cost."""

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from werkzeug.security import generate_password_hash

from taskapi.errors import Unavailable
from taskapi.store import passwords


@pytest.mark.usefixtures("shipped_password_hashes")
def test_a_stored_hash_has_the_parameters_that_owasp_recommends() -> None:
    parameters = extract_parameters(passwords.hash_password("alice123"))
    assert parameters.type is Type.ID
    costs = parameters.memory_cost, parameters.time_cost, parameters.parallelism
    assert costs == (19 * 1024, 2, 1)


@pytest.mark.usefixtures("shipped_password_hashes")
def test_an_unknown_user_is_refused_at_the_same_cost() -> None:
    real, dummy = passwords.hash_password("alice123"), passwords._DUMMY_HASH
    assert extract_parameters(real) == extract_parameters(dummy)


@pytest.mark.parametrize("method", ["scrypt:256:8:1", "pbkdf2:sha256:1000"])
def test_hashes_of_older_installations_are_checked(method: str) -> None:
    old = generate_password_hash("alice123", method)
    assert passwords.is_hash(old.encode())
    assert passwords.is_old(old)
    assert passwords.is_password(old, "alice123")
    assert not passwords.is_password(old, "alice124")


@pytest.mark.parametrize("parameters", ["m=19456,t=0,p=1", "m=8,t=1,p=9"])
def test_a_hash_whose_parameters_cannot_be_used_is_no_wrong_password(parameters: str) -> None:
    damaged = f"$argon2id$v=19${parameters}${'A' * 22}${'A' * 43}"
    assert passwords.is_hash(damaged.encode())
    with pytest.raises(Unavailable, match="its hash cannot be used"):
        passwords.is_password(damaged, "alice123")


@pytest.mark.usefixtures("shipped_password_hashes")
@pytest.mark.parametrize("change", [{"memory_cost": 9728}, {"time_cost": 1}, {"salt_len": 8}])
def test_a_hash_with_weaker_parameters_is_an_old_one(change: dict[str, int]) -> None:
    today = {"time_cost": 2, "memory_cost": 19_456, "parallelism": 1}
    assert passwords.is_old(PasswordHasher(**today | change).hash("alice123"))
    assert not passwords.is_old(PasswordHasher(**today).hash("alice123"))
