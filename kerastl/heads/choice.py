"""Resolves `head`: a name with settings, a file, a model or a callable; several names, or all."""

import re
from dataclasses import replace

from kerastl.errors import OptionError, unknown
from kerastl.heads import custom
from kerastl.heads.specification import ROW, ConfiguredHead, Head, HeadLike, Setting, Value
from kerastl.user_code import is_user_file

AUTO = "auto"


def resolve_head(head: HeadLike, parts: tuple[int, ...] = ()) -> ConfiguredHead:
    """The head that `head` refers to, for features of these parts (see `Head.takes_parts`).

    head: a name, or a name with settings, `mlp:hidden=256,dropout=0.3`; a Python file that defines `HEAD` or `build`,
    `./my_head.py`; a keras.Model, which is copied with new weights each time it is trained; a callable
    `(shape, outputs) -> keras.Model`; or a `Head`. Raises OptionError, with the closest name, for an unknown name, and
    for a setting that the head does not have or that is out of its range.
    """
    if isinstance(head, ConfiguredHead):
        return replace(head, parts=parts)
    if isinstance(head, Head):
        return ConfiguredHead(head, parts=parts)
    if isinstance(head, str):
        return replace(_parse(head), parts=parts)
    return ConfiguredHead(custom.head_of_object(head), parts=parts)


def _parse(text: str) -> ConfiguredHead:
    from kerastl.heads import heads

    match = re.fullmatch(r"(.*?\.py|[^:]*)(?::(.*))?", text, re.DOTALL)
    name, words = (match[1], match[2] or "") if match else (text, "")
    if is_user_file(name):
        spec = custom.head_of_file(name)
    elif name in heads():
        spec = heads()[name]
    elif text == AUTO or len(parted(text)) > 1:
        raise _several(text)
    else:
        raise unknown("head", name, heads(), "kerastl heads")
    settings = []
    for word in filter(None, words.split(",")):
        setting, _, value = word.partition("=")
        setting = spec.name_of(setting)
        if setting not in spec.known and len(parted(text)) > 1:
            raise _several(text)
        if setting not in spec.known:
            raise unknown(f"setting of {name}", setting, spec.known, "kerastl heads")
        settings.append((setting, _value(f"{name}:{word}", setting, spec.known[setting], value)))
    return ConfiguredHead(spec, tuple(settings))


def _several(text: str) -> OptionError:
    return OptionError(f"`head` is {text!r}, which stands for several heads", "one head, for training", "set `search` "
                       "to choose among them; in Python: kerastl.search_heads, then kerastl.best_head")


def _value(text: str, name: str, setting: Setting, value: str) -> Value:
    if setting.choices:
        if value not in setting.choices:
            raise OptionError(f"`head` is {text!r}", f"{name} to be one of {', '.join(setting.choices)}",
                              f"change {name}")
        return value
    number_of = "an integer" if isinstance(setting.default, int) else "a number"
    expected = f"{name} to be {number_of} from {setting.low:g} to {setting.high:g}"
    try:
        number = type(setting.default)(value)
    except ValueError as error:
        raise OptionError(f"`head` is {text!r}", expected, f"change {name}") from error
    if not setting.low <= float(number) <= setting.high:
        raise OptionError(f"`head` is {text!r}", expected, f"change {name}")
    return number


def parted(text: str) -> list[str]:
    """Heads separated by commas, one by one: `linear,mlp:hidden=64,dropout=0.2` is two heads. A word with a `=` and no
    colon is one more setting of the head before it."""
    texts: list[str] = []
    for word in text.split(","):
        if texts and "=" in word and ":" not in word:
            texts[-1] += f",{word}"
        else:
            texts.append(word)
    return texts


def heads_of(head: HeadLike) -> tuple[ConfiguredHead, ...]:
    """The heads that `head` refers to: one, several separated by commas, or `auto`, all that take only pooled features.

    Raises OptionError as `resolve_head` does, and for heads that take different features.
    """
    from kerastl.heads import heads

    if not isinstance(head, str):
        return (resolve_head(head),)
    if head == AUTO:
        return tuple(ConfiguredHead(spec) for spec in heads().values() if spec.takes == ROW and not spec.takes_raw)
    resolved = tuple(resolve_head(text) for text in parted(head))
    if len({configured.spec.takes for configured in resolved}) > 1:
        raise OptionError(f"`head` is {head!r}: some of these heads take pooled features and some do not",
                          "heads that take the same features", "search them in separate runs")
    return resolved


def free(head: ConfiguredHead) -> list[str]:
    """The settings without a value, which a search may choose."""
    return [name for name in head.spec.known if name not in dict(head.settings)]


def to_search(head: HeadLike, trials: int) -> tuple[ConfiguredHead, ...]:
    """The heads that a search tries. Raises OptionError when there is nothing to choose, or fewer trials than heads."""
    resolved = heads_of(head)
    if not isinstance(head, str):
        raise OptionError(f"`search` is {trials}, but `head` is {head!r}", "a head by name or by file, so that the "
                          "settings of a trial can be written down", "put the head into a file: ./my_head.py")
    if len(resolved) == 1 and not free(resolved[0]):
        raise OptionError(f"`search` is {trials}, but the head {resolved[0].text} has no setting left to search",
                          "a head with free settings, several heads, or auto",
                          "set `head` to auto (the L2 strength of linear is always tuned)")
    if trials < len(resolved):
        raise OptionError(f"`search` is {trials}", f"at least {len(resolved)}: each of the {len(resolved)} heads is "
                          "tried once with its defaults", "increase `search`, or name fewer heads")
    return resolved
