"""Log lines carry the fields of their task, and no set-up of an app silences them."""

from __future__ import annotations

import asyncio
import logging
import logging.config

from runnel.log import about, fields_here, logger_of


async def test_lines_carry_the_fields_of_their_task(said: list[logging.LogRecord]) -> None:
    logger = logger_of("runnel.test")

    async def partition(number: int) -> None:
        about(partition=number)
        await asyncio.sleep(0)
        logger.info("one")
        logger.info("two", extra={"partition": 99})

    about(processor="p")
    await asyncio.gather(partition(1), partition(2))
    assert "partition" not in fields_here()
    found = [(vars(each)["processor"], vars(each)["partition"]) for each in said]
    assert sorted(found) == [("p", 1), ("p", 2), ("p", 99), ("p", 99)]


def test_a_setup_that_does_not_name_runnel_does_not_silence_it() -> None:
    logging.getLogger("runnel.early").setLevel("INFO")  # Before Runnel asks for it.
    early, logger = logger_of("runnel.early"), logger_of("runnel.test")
    try:
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": True})
        assert not logger.disabled
        assert logger.isEnabledFor(logging.ERROR)
        assert early.isEnabledFor(logging.INFO)
    finally:
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
