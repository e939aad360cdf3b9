"""A recipe that is dropped in as one file.

python recipes/efficientnet_lite_images.py --data DIR --name NAME
Data: DIR/<class>/**/<image>, a table of path,label, or tfds:NAME.
Measured: not measured yet.
Time: not measured yet.
"""

import kerastl as tl


class Config(tl.ImageConfig):
    backbone: str = "tiny_net"  # see `kerastl backbones`


main = tl.as_main(tl.classify_images)

if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
