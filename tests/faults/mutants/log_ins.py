"""Safeguards of log-ins: what is remembered, counted, refused and replaced."""

from tests.faults.mutants import Mutant

BUSY, CHECKS = "api/test_busy.py", "api/test_password_checks.py"
KEY = "api/test_shared_key.py"

MUTANTS = [
    Mutant(
        "a remembered password serves only addresses that used it",
        "taskapi/api/password_checks.py",
        "(throttle.keys[0].encode(), ",
        "(throttle.account.encode(), ",
        "api/test_auth_limits.py::test_a_blocked_address_cannot_tell_a_password_that_others_use",
    ),
    Mutant(
        "a remembered password ends with its hash",
        "taskapi/api/password_checks.py",
        "throttle.keys[0].encode(), stored, password",
        'throttle.keys[0].encode(), b"", password',
        f"{CHECKS}::test_what_redis_remembers_of_a_password_ends_with_the_password",
    ),
    Mutant(
        "a digest in Redis is of no use without the key",
        "taskapi/api/shared_key.py",
        "    return key\n",
        "    return bytes(KEY_BYTES)\n",
        f"{CHECKS}::test_a_digest_in_redis_is_of_no_use_without_the_key",
    ),
    Mutant(
        "requests that wait for the same check are not checked",
        "taskapi/api/password_checks.py",
        "if time.monotonic() < self._verified.use(digest):",
        "if False:",
        f"{CHECKS}::test_requests_that_wait_for_the_same_check_are_not_checked_themselves",
    ),
    Mutant(
        "the least recently used password is forgotten first",
        "taskapi/api/credentials.py",
        "            self._times.move_to_end(digest)\n",
        "",
        f"{CHECKS}::test_the_password_that_was_not_used_for_the_longest_time_is_forgotten",
    ),
    Mutant(
        "what Redis remembers of a password in use is renewed",
        "taskapi/api/password_checks.py",
        "        if time.monotonic() < due:\n",
        "        if due:\n",
        f"{CHECKS}::test_what_redis_remembers_is_renewed_while_it_is_in_use",
    ),
    Mutant(
        "what Redis remembers of a password expires",
        "taskapi/store/verified.py",
        '            ("EXPIRE", key, REMEMBERED_SECONDS),\n',
        "",
        f"{CHECKS}::test_a_password_is_checked_once_for_all_processes_and_across_restarts",
    ),
    Mutant(
        "one user does not fill Redis with addresses",
        "taskapi/store/verified.py",
        '            ("ZREMRANGEBYRANK", key, 0, -REMEMBERED_MOST - 1),\n',
        "",
        f"{CHECKS}::test_redis_remembers_the_last_addresses_of_a_user_only",
    ),
    Mutant(
        "a full Redis lets everybody log in",
        "taskapi/store/verified.py",
        "    with suppress(Unavailable):\n        session",
        "    with suppress(KeyError):\n        session",
        f"{CHECKS}::test_a_full_redis_lets_everybody_log_in",
    ),
    Mutant(
        "damaged digests let everybody log in",
        "taskapi/store/verified.py",
        "    with suppress(Unavailable):\n        (score,)",
        "    with suppress(KeyError):\n        (score,)",
        f"{CHECKS}::test_a_damaged_key_of_digests_lets_everybody_log_in",
    ),
    Mutant(
        "the key is no link",
        "taskapi/api/shared_key.py",
        " | os.O_NOFOLLOW",
        "",
        f"{KEY}::test_a_file_that_others_can_read_or_choose_is_not_used",
    ),
    Mutant(
        "the key is the service's own",
        "taskapi/api/shared_key.py",
        "status.st_uid == os.geteuid() and ",
        "",
        f"{KEY}::test_a_file_of_another_user_is_not_used",
    ),
    Mutant(
        "the key is readable for nobody else",
        "taskapi/api/shared_key.py",
        "not status.st_mode & 0o077",
        "True",
        f"{KEY}::test_a_file_that_others_can_read_or_choose_is_not_used",
    ),
    Mutant(
        "the key is whole",
        "taskapi/api/shared_key.py",
        "len(key) != KEY_BYTES",
        "False",
        f"{KEY}::test_a_file_that_others_can_read_or_choose_is_not_used",
    ),
    Mutant(
        "nobody sees a part of the key",
        "taskapi/api/shared_key.py",
        "        with suppress(FileExistsError):\n            os.link(new.name, file)\n",
        "        os.replace(new.name, file)\n",
        f"{KEY}::test_all_processes_have_the_key_of_the_first_one",
    ),
    Mutant(
        "a check without memory is no wrong password",
        "taskapi/store/passwords.py",
        "    except VerifyMismatchError:",
        "    except VerificationError:",
        f"{BUSY}::test_a_check_for_which_there_is_no_memory_is_no_wrong_password",
    ),
    Mutant(
        "a hash without memory causes no 500",
        "taskapi/store/passwords.py",
        "    except HashingError as error:",
        "    except KeyError as error:",
        f"{BUSY}::test_a_check_for_which_there_is_no_memory_is_no_wrong_password",
    ),
]
