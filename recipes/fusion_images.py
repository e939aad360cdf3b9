"""Images, classified on the features of two backbones at once, `a+b`.

python recipes/fusion_images.py --data DIR --name NAME
Data: DIR/<class>/**/<image>, a table of path,label, or tfds:NAME.
--weights, one for each: bundled,imagenet; without ResNet50's file and a network, bundled,none, whose second is random.
--head: any takes the long row (linear: concatenation); gated and averaged bring both parts to one width first.
Measured: only with a random ResNet50 (--weights bundled,none), which shows that fusing works, not that it helps: on 705
stamps of 8 classes, 5-fold cross-validation, seed 0: linear 0.881 (95% 0.855 to 0.903), averaged 0.861 (0.833 to
0.885), gated 0.850 (0.821 to 0.874); efficientnet_lite0 alone, linear, 0.877 (0.850 to 0.899). The second network's
gain of 3 images is within chance. Two trained networks: not measured.
Time: not measured on a machine of its own.
"""

from dataclasses import dataclass

import kerastl as tl


@dataclass(frozen=True, kw_only=True)
class Config(tl.ImageConfig):
    """Flags of the recipe."""

    backbone: str = "efficientnet_lite0+resnet50"  # two or more joined by +; weights: none, or one each: bundled,none


main = tl.as_main(tl.classify_images)

if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
