"""Layers and small networks that several heads share. Importing this imports no Keras; the modules in it do."""
