"""What a model's answer rests on: which part of an image, or which words of a text, speak for a class and against it.

What is explained is the logit of a class. For a linear head on averaged maps the parts of the image add up to it
(`exact`); other heads on images are asked again with a part covered, and texts with words left out.
"""
