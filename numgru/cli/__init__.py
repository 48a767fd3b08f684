"""The command line: `run`, and the group of its commands, each in a file of its own.

A mistake in what was asked is one line on stderr and exit code 2.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

import click

from .. import __version__
from ..data import DataError
from ..runs import RunError
from . import gradients, info, predict, sample, temporal_order, train
from .common import failure

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # no mistake of who asked


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 if done, 1 if failed, 2 after a mistake, 130 if interrupted."""
    try:
        commands.main(arguments, "numgru", standalone_mode=False)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)  # a click.UsageError has one
        hint = f" See {context.command_path} --help." if context else ""
        click.echo(f"numgru: {error.format_message()}{hint}", err=True)
        return error.exit_code
    except (DataError, RunError) as error:
        click.echo(f"numgru: {error}", err=True)
        return 2
    except (OSError, MemoryError) as error:
        click.echo(f"numgru: {failure(error)}", err=True)
        return 1 if isinstance(error, MemoryError) or error.errno in _FULL else 2
    except click.Abort:
        return 130
    return 0


@click.group(
    commands=[
        gradients.gradients,
        info.info,
        predict.predict,
        sample.sample,
        temporal_order.temporal_order,
        train.train,
    ],
    context_settings={"show_default": True},
    invoke_without_command=True,
)
@click.version_option(__version__)
@click.pass_context
def commands(context: click.Context) -> None:
    """Recurrent networks on CPUs: a forecaster or a model of a text, and experiments on gradients."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
