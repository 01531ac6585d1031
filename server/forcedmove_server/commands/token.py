"""``forcedmove token``: who may ask a server."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from forcedmove_server.access.tokens import SCOPES, create_token, read_tokens, revoke_token
from forcedmove_server.commands import reports_errors
from forcedmove_server.commands.arguments import add_config_argument
from forcedmove_server.config import load_config
from forcedmove_server.errors import InputError

HELP = "create, list and revoke tokens"


def _days(text: str) -> timedelta | None:
    if text == "never":
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})([dh])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90d or 12h, nor never")
    return timedelta(**{"days" if match[2] == "d" else "hours": int(match[1])})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Tokens of the file that security.tokens names, or --file. A server that runs sees changes."
    parser.epilog = (
        "examples:\n"
        "  forcedmove token create --name desk --scopes read,simulate --expires 90d\n"
        "  forcedmove token list\n"
        "  forcedmove token revoke desk"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a token and print it, this once", allow_abbrev=False)
    create.add_argument("--name", required=True, help="whose it is")
    create.add_argument("--scopes", required=True, help=f"some of {','.join(SCOPES)}, with commas")
    create.add_argument("--expires", type=_days, default="90d", metavar="TIME", help="90d, 12h or never (default: 90d)")
    create.add_argument(
        "--producers", default="", metavar="PATTERNS", help="it may tell for these only, for example 'desk-*,mm-7'"
    )
    revoke = actions.add_parser("revoke", help="make tokens work no more", allow_abbrev=False)
    revoke.add_argument("token", metavar="NAME|ID", help="name or id, never the secret")
    for action in (create, revoke, actions.add_parser("list", help="list them", allow_abbrev=False)):
        action.add_argument("--file", type=Path, help="token file (default: security.tokens of the config)")
        add_config_argument(action)


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Do one of the three."""
    path = args.file or _configured(args)
    if args.action == "create":
        expires = datetime.now(UTC) + args.expires if args.expires is not None else None
        producers = args.producers.split(",") if args.producers else ()
        secret = create_token(path, args.name, args.scopes.split(","), expires, producers)
        sys.stderr.write(f"{args.name}: added to {path}; the token is shown this once:\n")
        sys.stdout.write(f"{secret}\n")
    elif args.action == "revoke":
        for token in revoke_token(path, args.token):
            sys.stdout.write(f"{token.id}  {token.name}  revoked\n")
    else:
        now = datetime.now(UTC)
        for token in read_tokens(path).values():
            until = token.expires.isoformat() if token.expires else "never"
            state = "  EXPIRED" if token.has_expired(now) else ""
            told = f"  for {','.join(token.producers)}" if token.producers else ""
            sys.stdout.write(f"{token.id}  {token.name}  {','.join(token.scopes)}{told}  expires {until}{state}\n")
    return 0


def _configured(args: argparse.Namespace) -> Path:
    tokens = load_config(args.config).security.tokens
    if tokens is None:
        raise InputError("file", None, "give --file, or set security.tokens in the config")
    return Path(tokens)
