"""A ledger made visible: model.py says what there is to show, one module a format shows it."""
