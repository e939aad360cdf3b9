"""Few-shot learning on frozen features: methods compared on episodes of classes that they have not seen."""
