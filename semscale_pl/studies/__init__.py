"""The paper's analyses as studies: functions from arguments to plain data, described in experiments/NAME.yaml."""
