"""The methods, one folder each, all with the same rooms: config, plan, trial, results, run and review."""
