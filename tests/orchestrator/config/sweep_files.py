"""Small sweep files, in which tests change what they are about."""

SELECTIVE = """\
name: probe
method: selective
stages: [REM, W]
source:
  dataset: home
  validation: [s1, s2]
target:
  dataset: clinic
encoder:
  dropout: 0.25
search:
  n_trials: 12
  n_steps: 30
  space:
    tau_quantile: {uniform: [0.25, 0.75]}
    learning_rate: {log_uniform: [5e-5, 1e-3]}
"""

SLEEPMG = """\
name: probe
method: sleepmg
dataset: clinic
modalities: [emg, eeg]
network:
  dropout: 0.25
search:
  n_trials: 12
  space:
    alpha_y: {uniform: [0, 0.5]}
  enqueue: [{alpha_y: 0.5}]
rows:
  - name: NaiveMG
    ours: a reading
    modulation: {mod_y: false, mod_d: false}
  - name: SleepMG
"""
