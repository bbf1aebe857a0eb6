"""Safeguards of log-ins: what is remembered, counted, refused and replaced."""

from tests.faults.mutants import Mutant

BUSY = "api/test_busy.py"

MUTANTS = [
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
