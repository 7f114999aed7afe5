"""Other machines than this one."""
