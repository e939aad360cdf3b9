"""Images, classified by residual blocks on InceptionV3's last map. Its ImageNet weights are Keras' own download.

python recipes/inception_resnet_images.py --data DIR --name NAME
Data: DIR/<class>/**/<image>, a table of path,label, or tfds:NAME.
Measured: not measured with InceptionV3, whose weights come by a download that could not be reached where this was
written; with random ones the recipe runs whole in the tests. The same head on EfficientNet-Lite0's last map: 0.866 on
stamps of 8 classes (0.850 to 0.882 over 3 seeds, rows that did not train), where `linear` on the mean of that map gave
0.871 (0.850 to 0.898).
Time: not measured.
"""

from dataclasses import dataclass

import kerastl as tl


@dataclass(frozen=True, kw_only=True)
class Config(tl.ImageConfig):
    """Flags of the recipe."""

    backbone: str = "inception_v3"  # see `kerastl backbones`
    head: str = "resnet"  # see `kerastl heads`; with settings: resnet:width=64,blocks=1


main = tl.as_main(tl.classify_images)

if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
