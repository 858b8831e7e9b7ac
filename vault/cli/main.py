"""idvault: run, enrol, check. Each noun has a file of its own beside this one."""

import sys
from typing import Final

import click

from keys.errors import KeysError, SealedError
from vault.cli import (
    agreements,
    backup,
    credentials,
    database,
    demo,
    enrolment,
    hold,
    importing,
    inspection,
    log,
    report,
    reseal,
    retag,
    service,
    witness,
)
from vault.errors import StartError, VaultError
from vault.log.verify import BadLogError

EXIT_ERROR: Final = 1
EXIT_SEALED: Final = 3
EXIT_VERIFICATION_FAILED: Final = 4


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="idvault")
def cli() -> None:
    """Keep people's real names sealed, and give providers pseudonymous tokens in their place.

    \b
    First steps:
      idvault demo                                    the whole story, played on specimen people
      idvault serve                                   an embedded vault under var/ on 127.0.0.1:8400
      idvault provider add chat --sector chat.example a provider and its credentials
      idvault reviewer add rita                       a reviewer for all providers
      idvault import people.csv --provider chat       bring the accounts that a provider has
      idvault fsck                                    check every row of every store
      idvault backup FOLDER --key-file FILE           copy the whole vault; `restore` brings it back
      idvault log verify                              recompute the public log of what was done
      idvault report transparency 2026-11             how many acts of each kind there were

    The first command that needs a vault makes an embedded one with the development seal, if there is none.
    Settings are IDVAULT_… variables or a TOML file named by IDVAULT_CONFIG; see docs/operations.md.
    """  # noqa: D301 - \b keeps click from wrapping the list


cli.add_command(service.serve)
cli.add_command(service.housekeeping)
cli.add_command(service.sequencer)
cli.add_command(demo.demo)
cli.add_command(inspection.fsck)
cli.add_command(inspection.openapi)
cli.add_command(log.log)
cli.add_command(report.report)
cli.add_command(witness.witness)
cli.add_command(database.db)
cli.add_command(retag.retag)
cli.add_command(reseal.reseal)
cli.add_command(hold.hold)
cli.add_command(backup.backup)
cli.add_command(backup.restore)
cli.add_command(importing.import_)
cli.add_command(importing.approve_import)
enrolment.provider.add_command(agreements.allow_exchange)
enrolment.provider.add_command(agreements.revoke_exchange)
cli.add_command(enrolment.provider)
for command in credentials.COMMANDS:
    enrolment.provider.add_command(command)
cli.add_command(enrolment.reviewer)
cli.add_command(enrolment.operator)


def main() -> None:
    """Run the command line; errors are one line on standard error and an exit code."""
    try:
        cli.main(prog_name="idvault", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(EXIT_ERROR)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SealedError as error:
        _say(str(error))
        sys.exit(EXIT_SEALED)
    except (KeysError, StartError) as error:
        _say(str(error))
        sys.exit(EXIT_ERROR)
    except BadLogError as error:
        _say(str(error))
        sys.exit(EXIT_VERIFICATION_FAILED)
    except VaultError as error:
        _say(error.detail or error.kind.value)
        sys.exit(EXIT_ERROR)


def _say(message: str) -> None:
    click.echo(f"idvault: {message}", err=True)


if __name__ == "__main__":
    main()
