"""From the command line to a `Config`. The help of each flag is the comment on its line.

A plain `--help` shows the flags that are not in a group of `flags.GROUPS`; `--help-all` shows every group.
"""

import inspect
import re
import sys
from dataclasses import MISSING, Field, field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

from kerastl.shell.flags import GROUPS, OLD_NAMES

C = TypeVar("C")

NUMBERS = {int: "an integer", float: "a number"}
HELP, HELP_ALL = ("-h", "--help"), "--help-all"
ARGUMENT = re.compile(r"`([a-z]\w*)(?:=([^`]*))?`")  # as messages name an argument: `head`, or `head=linear`


def parse(config: type[C], argv: list[str] | None, module: str = "", prog: str | None = None) -> C:
    """Flags to a `config`. Exits with code 2 on bad usage, with 0 after help.

    module: where the description of the command is, in the first line of the docstring; default: the config's.
    """
    import tyro

    words = sys.argv[1:] if argv is None else argv
    complete = HELP_ALL in words
    brief = not complete and any(word in HELP for word in words)
    text = (sys.modules[module].__doc__ or "") if module in sys.modules else config.__doc__ or ""
    description = text.partition("\n")[0]
    grouped = _groups(config)
    if brief and grouped:
        description += f"\n\n{len(grouped)} more options are listed by {HELP_ALL}."
    form = _form(config, brief)
    values: Any = tyro.cli(form, args=["--help"] if complete else words, prog=prog, description=description,
                      config=(tyro.conf.FlagCreatePairsOff,))
    return config(**_flat(values))


def with_flags(message: str, config: Any) -> str:
    """A message as the shell prints it: arguments in backquotes become the flags of `config`, where it has them."""
    flags = {item.name for item in fields(config)} if is_dataclass(config) else set()
    positional = {name for name in flags if _is_positional(get_type_hints(type(config), include_extras=True)[name])}

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name in flags - positional:
            text = f"--{name.replace('_', '-')}"
            return text if value is None else f"{text} {value.strip(chr(34))}"
        return name if value is None else f"{name}={value}"

    return ARGUMENT.sub(flag, message)


def _groups(config: Any) -> dict[str, str]:
    """The group of each field that is in one. A field that would be alone in its group is in none."""
    members = {group: [item.name for item in fields(config) if item.name in names] for group, names in GROUPS.items()}
    return {name: group for group, names in members.items() if len(names) > 1 for name in names}


def _form(config: Any, brief: bool) -> type:
    """The dataclass that is parsed: as `config`, each group nested under its own heading; without them if `brief`."""
    import tyro

    form: dict[str, list[tuple[str, Any, Any]]] = {"": [], **{group: [] for group in GROUPS}}
    hints, comments, annotated = get_type_hints(config, include_extras=True), _comments(config), cast(Any, Annotated)
    groups = _groups(config)
    for item in sorted(fields(config), key=lambda item: item.default is not MISSING):  # required ones first
        argument = _argument(item, hints[item.name], comments.get(item.name))
        form[groups.get(item.name, "")].append(
            (item.name, annotated[(hints[item.name], argument, *_number(hints[item.name]))], _default(item)))
    plain = form.pop("")
    for group, members in form.items():
        if members and not brief:
            nested, omit = make_dataclass(group, members, kw_only=True), cast(Any, tyro.conf.OmitArgPrefixes)
            plain.append((group, omit[nested], field(default_factory=nested)))
    return make_dataclass(config.__name__, plain, kw_only=True)


def _argument(item: "Field[Any]", hint: Any, comment: str | None) -> Any:
    """How tyro shows a field. A default of None is explained in the comment. tyro shows the last of two names first."""
    import tyro

    kind, *extras = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    kinds = [choice for choice in get_args(kind) if choice is not type(None)]
    names: dict[str, Any] = {}
    if item.default is None:
        names = {"help_behavior_hint": "", "metavar": kinds[0].__name__.upper()}
    if _is_positional(hint) and kind is str:
        names = {"metavar": item.name.upper()}
    if any(getattr(extra, "metavar", None) for extra in extras):
        names.pop("metavar", None)
    if item.name in OLD_NAMES:
        names |= {"name": OLD_NAMES[item.name], "aliases": (f"--{item.name.replace('_', '-')}",)}
    return tyro.conf.arg(help=comment, **names)


def _number(hint: Any) -> list[Any]:
    """For a number, what parses it: tyro's own message for a wrong one speaks of types and of Python's functions."""
    from tyro.constructors import PrimitiveConstructorSpec

    plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    kinds = [choice for choice in get_args(plain) or (plain,) if choice is not type(None)]
    if len(kinds) != 1 or kinds[0] not in NUMBERS:
        return []
    kind, optional = kinds[0], plain is not kinds[0]

    def parsed(words: list[str]) -> Any:
        if optional and words[0] == "None":
            return None
        try:
            return kind(words[0])
        except ValueError:
            raise ValueError(f"{NUMBERS[kind]} is expected (got {words[0]!r})") from None

    return [PrimitiveConstructorSpec(
        nargs=1, metavar=kind.__name__.upper(), instance_from_str=parsed,
        is_instance=lambda value: isinstance(value, int | kind) or (optional and value is None),
        str_from_instance=lambda value: [str(value)])]


def _default(item: "Field[Any]") -> Any:
    if item.default_factory is not MISSING:
        return field(default_factory=item.default_factory)
    return field() if item.default is MISSING else field(default=item.default)


def _flat(values: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for item in fields(values):
        value = getattr(values, item.name)
        flat |= _flat(value) if is_dataclass(value) else {item.name: value}
    return flat


def _comments(config: type) -> dict[str, str]:
    """The comment on the line of each field, of the class that is lowest in the hierarchy."""
    comments: dict[str, str] = {}
    for parent in reversed(config.__mro__[:-1]):
        try:
            source = inspect.getsource(parent)
        except (OSError, TypeError):  # installed without source: the flags work, and have no help
            continue
        comments |= dict(re.findall(r"^    (\w+): .*?  # (.+)$", source, re.MULTILINE))
    return comments


def _is_positional(hint: Any) -> bool:
    import tyro

    return cast(Any, tyro.conf.Positional)[str].__metadata__[0] in getattr(hint, "__metadata__", ())
