"""Images: a linear classifier on ResNet50 features. Keras downloads the ImageNet weights.

python recipes/resnet50_images.py --data DIR --name NAME
Data: DIR/<class>/**/<image>, a table with columns path and label, or tfds:NAME.
Measured: not measured. The weights could not be downloaded in our build environment. The recipe is tested from end to
end with random weights.
Time: see benchmarks/README.md for the speed of the feature pass.
"""

import kerastl as tl


class Config(tl.ImageConfig):
    backbone: str = "resnet50"  # see `kerastl backbones`


main = tl.as_main(tl.classify_images)

if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
