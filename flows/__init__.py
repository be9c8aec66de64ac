"""What runs, and when: one flow a file. The logic is in ``millrace``, the units that Prefect shows in ``tasks``."""
