"""What does it cost, against plain River and plain Polars doing the same on the same machine in the same run?"""
