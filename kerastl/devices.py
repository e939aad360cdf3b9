"""Which GPUs a run uses: all of them, so many, or none. TensorFlow is imported inside the functions that need it.

`cpu`, and fewer GPUs than there are, are settled before TensorFlow starts: afterwards it keeps all that it saw, and
holds their memory.
"""

from collections.abc import Sequence

from kerastl.errors import OptionError

AUTO, CPU = "auto", "cpu"
DEVICES_TEXT = "auto, cpu, or a number of GPUs of at least 1"
KIND = "GPU"  # of the devices that work is divided among; tests divide it among logical CPUs


def number_of(devices: str | int) -> int | None:
    """How many GPUs are to be used; None for `auto`, 0 for `cpu`. Raises OptionError for anything else."""
    text = str(devices)
    if text in (AUTO, CPU):
        return None if text == AUTO else 0
    if isinstance(devices, bool) or not text.isdecimal() or int(text) < 1:
        raise OptionError(f"`devices` is {devices!r}", DEVICES_TEXT, "auto is the default: every GPU, or the processor")
    return int(text)


def is_devices(devices: str | int) -> bool:
    """Whether `number_of` takes this."""
    try:
        number_of(devices)
    except OptionError:
        return False
    return True


def has_gpu() -> bool:
    """Whether this process uses a GPU: TensorFlow sees one, and `devices` is not `cpu`."""
    import tensorflow as tf

    return bool(tf.config.get_visible_devices("GPU"))


def hides_gpus() -> bool:
    """Whether this process leaves the GPUs of this machine alone."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU")) and not has_gpu()


def limit_devices(devices: str | int) -> None:
    """Let TensorFlow see only the GPUs that are to be used, by `tf.config.set_visible_devices`, if it has not started.

    Raises OptionError for `cpu` where TensorFlow has started with a GPU: it computes there whatever is set now.
    """
    number = number_of(devices)
    if number is None:
        return
    import tensorflow as tf

    there = tf.config.list_physical_devices(KIND)
    if number >= len(there):
        return  # also where there is none; `devices_for` checks the number
    try:
        tf.config.set_visible_devices(there[:number], KIND)
    except RuntimeError as error:
        if number:
            return  # the first ones are used, and the memory of the others stays taken
        raise OptionError("`devices` is cpu, but TensorFlow has started with a GPU in this process",
                          "`devices` set before anything is computed", "start Python anew, and set it in the first call"
                          ) from error


def devices_for(devices: str | int) -> tuple[str, ...]:
    """The names of the GPUs that share the work; empty for one or none, where TensorFlow places everything itself.

    Raises OptionError where there are fewer than requested.
    """
    limit_devices(devices)
    import tensorflow as tf

    names: tuple[str, ...] = ()
    if number_of(devices) != 0 and tf.config.get_visible_devices(KIND):
        names = tuple(device.name.rpartition("device:")[2] for device in tf.config.list_logical_devices(KIND))
    return divided(devices, names)


def divided(devices: str | int, names: Sequence[str]) -> tuple[str, ...]:
    """See `devices_for`. names: of all GPUs, such as `GPU:0`."""
    number = number_of(devices)
    if number and number > len(names):
        there = {0: "no GPU", 1: "one GPU"}.get(len(names), f"{len(names)} GPUs")
        raise OptionError(f"`devices` is {devices}, but TensorFlow sees {there}",
                          f"auto, cpu, or at most {len(names)}" if names else "auto or cpu",
                          "set `devices` to auto, or check the driver and TensorFlow's installation: "
                          "`pip install tensorflow[and-cuda]`")
    used = tuple(names) if number is None else tuple(names[:number])
    return used if len(used) > 1 else ()
