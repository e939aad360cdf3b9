"""From a source to examples, and which of them are used for training, validation and testing."""
