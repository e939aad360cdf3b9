"""Images, classified on ResNet50's features. Its ImageNet weights are Keras' own download.

python recipes/resnet50_images.py --data DIR --name NAME
Data: DIR/<class>/**/<image>, a table of path,label, or tfds:NAME.
Measured: not measured. The weights come by Keras' own download, which could not be reached where this was written; with
random ones the recipe runs whole in the tests.
Time: see benchmarks/README.md for the rate of the feature pass.
"""

from dataclasses import dataclass

import kerastl as tl


@dataclass(frozen=True, kw_only=True)
class Config(tl.ImageConfig):
    """Flags of the recipe."""

    backbone: str = "resnet50"  # see `kerastl backbones`


main = tl.as_main(tl.classify_images)

if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
